"""Rule `weights-stand-still`: no update changed a trainable variable, though the learning rate was not 0: gradients are
0 (one output unit with a softmax, a loss that does not depend on the model), and training does nothing."""

from __future__ import annotations

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import NO_EPOCH, not_applicable
from diagnose.rules.facts import Facts

NAME = "weights-stand-still"

NONE_TRAINED = Text("weights-stand-still.none-trained", "No variable of the model is trained.")
NOT_KEPT = Text("weights-stand-still.not-kept", "The trace has no two versions to compare.")
ACCUMULATED = Text(
    "weights-stand-still.accumulated", "Gradients are accumulated over {steps} steps, and there were {updates}."
)
RATE_ZERO = Text("weights-stand-still.rate-zero", "The learning rate was 0, so the weights stood still as they should.")
MOVED = Text("weights-stand-still.moved", "Updates changed the weights.")
FAILED = Text(
    "weights-stand-still.failed",
    "None of {updates} updates changed a weight{rate:given(, at a learning rate of {rate:number}|)}: all gradients "
    "were 0, or too small to change anything.{one:given( The loss, categorical_crossentropy, of an output of one unit "
    "is 0 "
    "whatever that is.)}{loss:given( The loss was {loss:number} in every epoch.)}",
)
ADVICE = Text(
    "weights-stand-still.advice",
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
    """Fails where all versions that were kept have the same trainable variables."""
    trace = facts.trace
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
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
    shapes = [o.shape for o in trace.header.model.outputs or ()]
    one = (trace.header.compile.loss == "categorical_crossentropy" and [s and s[-1] for s in shapes] == [1]) or None
    losses = {e.logs.get("loss") for e in facts.epochs}
    rate = next(iter(rates)) if len(rates) == 1 else None
    loss = next(iter(losses)) if len(losses) == 1 else None
    evidence = {"updates": trace.updates, "rate": rate, "loss": loss}
    title = FAILED(updates=trace.updates, rate=rate, one=one, loss=loss if isinstance(loss, (int, float)) else None)
    return Finding(NAME, "failed", title, evidence, ADVICE(one=one, code=CODE_ONE if one else CODE))
