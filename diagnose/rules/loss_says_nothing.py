"""Rule `loss-says-nothing`: the loss does not depend on the model. It is 0 by its form (categorical crossentropy of one
output unit), or no update changed a weight though the learning rate was not 0."""

from __future__ import annotations

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import NO_EPOCH, not_applicable
from diagnose.rules.facts import Facts

NAME = "loss-says-nothing"

ROUNDED = 1e-6
"""What the logarithm of a probability of 1 is at most, as backends clip it (torch: to 1 - 1e-7)."""

NONE_TRAINED = Text("loss-says-nothing.none-trained", "No variable of the model is trained.")
NOT_KEPT = Text("loss-says-nothing.not-kept", "The trace has no two versions to compare.")
ACCUMULATED = Text(
    "loss-says-nothing.accumulated", "Gradients are accumulated over {steps} steps, and there were {updates}."
)
RATE_ZERO = Text("loss-says-nothing.rate-zero", "The learning rate was 0, so the weights stood still as they should.")
MOVED = Text("loss-says-nothing.moved", "Updates changed the weights.")
FAILED = Text(
    "loss-says-nothing.failed",
    "None of {updates} updates changed a weight{rate:given(, at a learning rate of {rate:number}|)}: all gradients "
    "were 0, or too small.{loss:given( The loss was {loss:number} in every epoch.)}",
)
ONE_UNIT = Text(
    "loss-says-nothing.one-unit",
    "The loss says nothing about the model: categorical_crossentropy of an output of one unit is 0{rounded:given( but "
    "for rounding|)} whatever that is, and {loss:number} was logged in {epochs:plural(the one epoch|all # epochs)}.",
)
ADVICE = Text(
    "loss-says-nothing.advice",
    """\
{one:given(One unit for two classes wants a sigmoid and the loss that goes with it|See that the loss is computed from \
the model's output, by operations that have a gradient, and that the output is not the same for all rows)}:

{code:python}
""",
)
CODE_ONE = """\
model.add(keras.layers.Dense(1, activation="sigmoid"))  # softmax over one unit is 1 for every row
model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])"""
CODE = """\
before = model.get_weights()
print(model.train_on_batch(x[:32], y[:32]), model.predict(x[:8]))
print([float(abs(b - a).max()) for a, b in zip(before, model.get_weights())])"""


def check(facts: Facts) -> Finding:
    """Fails where the loss is 0 by its form, or all versions that were kept have the same trainable variables."""
    trace = facts.trace
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    shapes = [o.shape for o in trace.header.model.outputs or ()]
    losses = [e.logs.get("loss") for e in facts.epochs]
    form = trace.header.compile.loss == "categorical_crossentropy" and [s and s[-1] for s in shapes] == [1]
    values = [v for v in losses if isinstance(v, (int, float)) and abs(v) <= ROUNDED]
    if form and len(values) == len(losses):
        by_form = {"loss": values[-1], "epochs": len(losses), "output_units": 1}
        advice = ADVICE(one=True, code=CODE_ONE)
        title = ONE_UNIT(epochs=len(losses), loss=values[-1], rounded=values[-1] != 0.0)
        return Finding(NAME, "failed", title, by_form, advice, "loss")
    if not any(v.group == "trainable" for v in trace.header.variables):
        return not_applicable(NAME, NONE_TRAINED())
    versions = [s for s in trace.states if s.label == "version"]
    if len({s.version for s in versions}) < 2:
        return not_applicable(NAME, NOT_KEPT())
    if len({s.trainable for s in versions}) > 1:
        return Finding(NAME, "passed", MOVED(), {"updates": trace.updates}, "")
    steps = trace.header.compile.optimizer_config.get("gradient_accumulation_steps")
    if isinstance(steps, int) and steps > trace.updates:
        return not_applicable(NAME, ACCUMULATED(steps=steps, updates=trace.updates))
    rates = {e.learning_rate for e in facts.epochs}
    if rates == {0.0}:
        return Finding(NAME, "passed", RATE_ZERO(), {"updates": trace.updates, "rate": 0.0}, "")
    rate = next(iter(rates)) if len(rates) == 1 else None
    loss = losses[0] if len(set(losses)) == 1 and isinstance(losses[0], (int, float)) else None
    evidence = {"updates": trace.updates, "rate": rate, "loss": loss}
    title = FAILED(updates=trace.updates, rate=rate, loss=loss)
    return Finding(NAME, "failed", title, evidence, ADVICE(one=None, code=CODE))
