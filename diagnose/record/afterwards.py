"""What a tracer answers once its fits have ended. Records nothing of a fit."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from diagnose.errors import DiagnoseError
from diagnose.record.calls import told
from diagnose.record.run import Run

if TYPE_CHECKING:
    from diagnose.analysis.chosen import Wanted
    from diagnose.result.calls import Call
    from diagnose.result.diagnosis import Diagnosis


class Afterwards:
    """Diagnosis and explanation of the fits in `runs`."""

    runs: list[Run]
    silent: bool

    def close_left(self) -> None:
        """Ends recordings whose fits are over."""
        raise NotImplementedError

    def diagnose(
        self,
        evaluate: Any = None,
        *,
        data: Any = None,
        fit: int | None = None,
        epochs: Wanted = None,
        executor: Executor | None = None,
    ) -> Diagnosis:
        """Analyses a traced fit.

        Args:
            evaluate: the data the question is about: (x, y), (x, y, sample_weight), or an iterable of such batches;
                arrays are evaluated in batches of 32, as Keras's `evaluate` does by default. Without it, the rows
                `fit` used.
            data: the training data, in the same forms. Needed only where the trace holds digests of rows in place of
                the rows, and the arrays that `fit` was given are gone; each row is taken by its digest, others are
                passed over.
            fit: which fit of this tracer, 1-based; the last by default.
            epochs: the epochs (1-based) that get a ledger, or "all". By default the last, the best by the monitor, the
                restored, and, where a training value decides, the one after each. Of a long fit, only these are
                replayed and evaluated again.
            executor: of `concurrent.futures`, whose workers are other processes: they replay the epochs. The result is
                the same. They need this package, Keras, and whatever the model is made of, and read the trace under
                the same path.

        Raises:
            DiagnoseError: nothing was traced, there is no such fit or epoch, or the file of the fit is gone or holds
            another recording by now.
        """
        from diagnose.analysis.analyze import diagnose_run

        self.close_left()
        if not self.runs and self.silent:
            raise DiagnoseError("This fit was trained on several workers: ask the tracer of the chief, which records.")
        if not self.runs:
            raise DiagnoseError("Nothing was traced yet: pass this tracer in fit's callbacks first.")
        if fit is not None and not 1 <= fit <= len(self.runs):
            raise DiagnoseError(f"There is no fit {fit}: this tracer recorded {len(self.runs)}.")
        run = self.runs[-1 if fit is None else fit - 1]
        run.owner._close_own()
        return diagnose_run(run, evaluate=evaluate, data=data, epochs=epochs, executor=executor)

    def explain(
        self,
        returned: Any,
        x: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        batch_size: int | None = None,
        steps: int | None = None,
    ) -> Call:
        """Says why an `evaluate` after the fit returned what it did, of the model as it is now:

            print(tracer.explain(model.evaluate(x, y), x, y))

        Args:
            returned: what `evaluate` returned: a number, a list, or a dict by name.
            x, y, sample_weight, batch_size, steps: as `evaluate` was given them.

        Returns:
            The call, as the last of `diagnose().calls`; printed, it is one line.

        Raises:
            DiagnoseError: nothing was traced, the model is gone, or the values do not fit the model's metrics, which
            are then listed.
        """
        self.close_left()
        if not self.runs:
            raise DiagnoseError("Nothing was traced yet: pass this tracer in fit's callbacks first.")
        given = {"x": x, "y": y, "sample_weight": sample_weight, "batch_size": batch_size, "steps": steps}
        told(self.runs[-1], returned, given)
        return self.diagnose().calls[-1]
