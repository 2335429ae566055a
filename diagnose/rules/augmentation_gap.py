"""Rule `augmentation-gap`: random preprocessing layers change the rows in fit only (keras#17385)."""

from __future__ import annotations

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.facts import Facts
from diagnose.rules.mode_gap import find_gap

NAME = "augmentation-gap"

FAILED = Text(
    "augmentation-gap.failed",
    "fit logged {metric} {logged:number} for epoch {epoch}, evaluate gives {evaluated:number}: {amount:signed} is from "
    "random preprocessing ({layers}), which changes the rows in fit only.",
)
ADVICE = Text(
    "augmentation-gap.advice",
    """\
fit scores the model on randomly changed rows, `evaluate` on the rows as they are. To know how well the model does on
the training rows themselves, evaluate them; the value logged by fit answers another question:

{code:python}

To see overfitting, compare these with the `val_…` values of the same epoch: both are without augmentation.
""",
)
CODE = """\
class EvaluateTrainingRows(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        values = self.model.evaluate(x, y, verbose=0, return_dict=True)
        print({f"{name} on the rows as they are": value for name, value in values.items()})

model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[EvaluateTrainingRows()])"""


def check(facts: Facts) -> Finding:
    """Fails where replay with these layers in inference mode moves a logged value by a part that matters."""
    gap = find_gap(facts, NAME, "augmentation")
    if isinstance(gap, Finding):
        return gap
    title = FAILED(**gap.said)
    return Finding(NAME, "failed", title, gap.evidence, ADVICE(code=CODE), gap.ledger.metric, abs(gap.entry.amount))
