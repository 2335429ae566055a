"""Rule `dropout-gap`: dropout and noise layers are active in fit only (the Keras FAQ)."""

from __future__ import annotations

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.facts import Facts
from diagnose.rules.mode_gap import find_gap

NAME = "dropout-gap"

FAILED = Text(
    "dropout-gap.failed",
    "fit logged {metric} {logged:number} for epoch {epoch}, evaluate gives {evaluated:number}: {amount:signed} is from "
    "dropout or noise ({layers}), which is active in fit only.",
)
ADVICE = Text(
    "dropout-gap.advice",
    """\
Nothing is wrong with the model: fit scores it with units switched off or noise added, `evaluate` scores all of it.
Compare values that were both computed without dropout. For the training data, let fit evaluate them at the end of
each epoch:

{code:python}

To see overfitting, compare these with the `val_…` values of the same epoch.
""",
)
CODE = """\
class EvaluateTrainingRows(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        values = self.model.evaluate(x, y, verbose=0, return_dict=True)
        print({f"{name} without dropout": value for name, value in values.items()})

model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[EvaluateTrainingRows()])"""


def check(facts: Facts) -> Finding:
    """Fails where replay with these layers in inference mode moves a logged value by a part that matters."""
    gap = find_gap(facts, NAME, "dropout")
    if isinstance(gap, Finding):
        return gap
    title = FAILED(**gap.said)
    return Finding(NAME, "failed", title, gap.evidence, ADVICE(code=CODE), gap.ledger.metric, abs(gap.entry.amount))
