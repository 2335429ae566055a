"""Rule `random-evaluate`: evaluate itself draws (dropout that is told it trains, noise in a layer's `call`), so
the same weights and the same rows give another value each time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import NOT_MEASURED, not_applicable
from diagnose.rules.facts import Facts
from diagnose.tracefile import metric_state

NAME = "random-evaluate"

NOISE: Final = 1e-5
"""Relative difference up to which two values are the same, but for float rounding."""

NOT_COMPARED = Text("random-evaluate.not-compared", "nothing was evaluated two times")
GOES_ON = Text(
    "random-evaluate.goes-on",
    "{metrics:quoted} go on from one pass to the next, so two evaluates differ by that: see metric-never-reset.",
)
SAME = Text(
    "random-evaluate.same",
    "Evaluated two times, the same weights and rows gave the same: {metrics:list} {value:number}.",
)
FAILED = Text(
    "random-evaluate.failed",
    "evaluate draws random numbers: the same weights over the same rows gave {metric} {first:number}, and then "
    "{second:number}. What evaluate and validation return is one draw of many, whatever the weights.",
)
ADVICE = Text(
    "random-evaluate.advice",
    """\
Something in the model is random in inference too: a dropout or noise layer that is told that it trains, or a `call`
that draws without asking `training`. Leave `training` to Keras, and draw in training only:

{layer:python}

Where it is meant (Monte Carlo dropout), take the mean of many evaluates, and its spread:

{code:python}
""",
)
LAYER = """\
class Noise(keras.layers.Layer):
    def __init__(self, stddev, **kwargs):
        super().__init__(**kwargs)
        self.stddev = stddev
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs, training=False):
        if not training:
            return inputs
        noise = keras.random.normal(keras.ops.shape(inputs), stddev=self.stddev, seed=self.seed_generator)
        return inputs + noise"""


def alike(one: float, other: float) -> bool:
    """Whether two values are the same, but for float rounding."""
    return one == other or (one != one and other != other) or abs(one - other) <= NOISE * max(abs(one), abs(other))


def differing(twice: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """By how much two evaluates differ, by metric; empty where none does, beyond rounding."""
    found = {name: abs(v["first"] - v["second"]) for name, v in twice.items()}
    return found if random_metrics(twice) else {}


def random_metrics(twice: Mapping[str, Mapping[str, float]]) -> frozenset[str]:
    """The metrics of which two evaluates give different values."""
    return frozenset(name for name, v in twice.items() if not alike(v["first"], v["second"]))


def check(facts: Facts) -> Finding:
    """Fails where two evaluates of one set of weights over one batch differ."""
    twice = facts.measured.evaluated_twice
    if not twice:
        return not_applicable(NAME, NOT_MEASURED(reason=facts.measured.no_replay or NOT_COMPARED()))
    epochs = [facts.trace.index.steps_of(e.epoch) for e in facts.epochs]
    carried = metric_state.carried(metric_state.layout(facts.trace.header.metric_variables), epochs).epochs
    twice = {name: values for name, values in twice.items() if name not in carried}
    if not twice:
        return not_applicable(NAME, GOES_ON(metrics=sorted(carried)))
    if not differing(twice):
        metrics = list(twice)[:1]
        return Finding(
            NAME, "passed", SAME(metrics=metrics, value=twice[metrics[0]]["first"]), {"metrics": metrics}, ""
        )
    metric = max(twice, key=lambda name: _relative(**twice[name]))
    first, second = twice[metric]["first"], twice[metric]["second"]
    evidence = {"metric": metric, "first_value": first, "second_value": second}
    code = (
        f'values = [model.evaluate(x, y, verbose=0, return_dict=True)["{metric}"] for _ in range(20)]\n'
        "print(sum(values) / len(values), min(values), max(values))"
    )
    title = FAILED(metric=metric, first=first, second=second)
    return Finding(NAME, "failed", title, evidence, ADVICE(layer=LAYER, code=code), metric, abs(first - second))


def _relative(first: float, second: float) -> float:
    share = abs(first - second) / (max(abs(first), abs(second)) or 1.0)
    return -1.0 if math.isnan(share) else share
