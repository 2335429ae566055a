"""Measures one fit, asks the rules, and puts together its Diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from diagnose.analysis import asked_states
from diagnose.analysis.calls import calls_found
from diagnose.analysis.chosen import Wanted, analysed, is_short
from diagnose.analysis.chosen import reevaluated as reevaluated_epochs
from diagnose.analysis.confirm import confirm, only_the_loss, other_loss
from diagnose.analysis.headline import EVALUATED_AGAIN, NO_HEADLINE, headline, restoration_sentence, with_notes
from diagnose.analysis.origin import origin
from diagnose.analysis.since_fit import Now, Since, since_fit, told
from diagnose.analysis.tables import (
    EVALUATE_DRAWS,
    epoch_rows,
    evaluation_data,
    how_known,
    model_shown,
    notice,
    replay_check,
    step_rows,
    trace_shown,
    versions,
)
from diagnose.decide.clock import clock, held_value
from diagnose.decide.kept import saved_models
from diagnose.decide.verdict import Values, judge
from diagnose.decide.watched import Watcher, decisions, restoring
from diagnose.errors import ReplayError
from diagnose.policies.table import restorable
from diagnose.policies.table import table as policies_table
from diagnose.result.calls import Call
from diagnose.result.diagnosis import Diagnosis, Ledger, Restoration, SavedModel
from diagnose.result.kinds import How
from diagnose.result.measurements import Measurements, Replayed
from diagnose.result.problems import Problems
from diagnose.result.texts import Said
from diagnose.rules import run_rules
from diagnose.rules.facts import Facts
from diagnose.rules.random_evaluate import differing, random_metrics
from diagnose.tracefile.model import Epoch, State
from diagnose.tracefile.reader import Trace

if TYPE_CHECKING:
    from diagnose.analysis.workers import Workers
    from diagnose.record.call_items import Calls
    from diagnose.replay.check import EpochCheck
    from diagnose.replay.replayer import Replayer
    from diagnose.replay.runs import EvaluationData


class Analysis:
    """Measures one fit. Each measurement that cannot be made is left empty, and `problems` say why: what the user's
    model raises, and errors of our own, cost what they are in and nothing else."""

    def __init__(
        self,
        trace: Trace,
        replayer: Replayer | None,
        data: EvaluationData | None,
        problems: Problems,
        wanted: Wanted,
        calls: Calls | None = None,
        now: Now | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.workers = workers
        self.calls = calls
        self.now = now
        self.trace = trace
        self.replayer = replayer
        self.data = data
        self.problems = problems
        self.attempt = problems.attempt
        self.wanted = wanted
        self.chosen: list[int] = []
        self._checks: dict[int, EpochCheck | None] = {}
        self._why_no_steps: str | None = None
        """Why the steps of an epoch were not replayed, or came out otherwise."""
        self.decisions: tuple[Watcher, ...] = self.attempt("decisions", (), lambda: decisions(trace))
        self.restorer: Watcher | None = restoring(self.decisions)

    def diagnosis(self, name: str, number: int) -> Diagnosis:
        trace, replayer, attempt = self.trace, self.replayer, self.attempt
        chosen: list[int] = attempt("choosing epochs", [], self._chosen_epochs)
        self.chosen = chosen
        wanted = reevaluated_epochs(trace, self.wanted, self.decisions, chosen)
        early = None if self.workers is None else self._elsewhere(self.workers, chosen, wanted)
        reevaluated = self._reevaluate(wanted)
        again: tuple[int, ...] = attempt("policies", (), lambda: tuple(restorable(trace, self.decisions, reevaluated)))
        reevaluated |= self._reevaluate(again)
        evaluated: dict[str, float] = attempt("evaluate", {}, self._evaluated) if early is None else early
        held_validation: dict[str, float] = attempt("validation", {}, self._held_validation)
        twice: dict[str, dict[str, float]] = attempt("evaluate, twice", {}, lambda: self._evaluated_twice(evaluated))
        restoration = attempt("verdict", None, lambda: self._restoration(reevaluated, evaluated, held_validation))
        checks = self._check(chosen)
        drawn = differing(twice)
        ledgers = self._ledgers(chosen, evaluated, drawn)
        restoration = attempt("verdict's notes", restoration, lambda: with_notes(restoration, ledgers, trace))
        saved: tuple[SavedModel, ...] = attempt("saved files", (), self._saved)
        measured = Measurements(
            reevaluated=reevaluated,
            evaluated=evaluated,
            held_validation=held_validation,
            replayed={e: Replayed(len(c.steps), sum(s.reproduced for s in c.steps)) for e, c in checks.items()},
            other_loss=attempt("other loss", {}, lambda: self._other_losses(checks)),
            evaluated_twice=twice,
            step_returned=attempt("what a step returns", {}, lambda: asked_states.step_returned(replayer)),
            tested=attempt("what a test step does", None, lambda: asked_states.tested(replayer)),
            origin=attempt("not finite", None, lambda: origin(trace, replayer)),
            no_replay=None if ledgers else (self._why_no_steps or self.problems.reason),
            **self._asked(chosen, {} if drawn else evaluated, ledgers),
        )
        validated = self._validation_values
        random = random_metrics(twice)
        called: tuple[Call, ...] = attempt(
            "calls",
            (),
            lambda: calls_found(self.calls, trace, replayer, self.data, ledgers, validated, self.problems, random),
        )
        since: Since | None = attempt("since the fit", None, lambda: since_fit(trace, called, self.now))
        restoration = attempt("verdict, since", restoration, lambda: told(restoration, since, trace))
        measured = replace(measured, since_fit=None if since is None else since.version)
        facts = Facts(self.trace, self.decisions, restoration, tuple(ledgers), measured, called)
        findings = run_rules(facts)
        nothing: str = NO_HEADLINE()
        header = self.trace.header
        environment = dict(header.environment)
        return Diagnosis(
            fit=number,
            keras=environment.get("keras", "unknown"),
            backend=header.backend,
            steps_total=max(len(trace.steps), trace.updates),
            headline=attempt("headline", nothing, lambda: headline(facts, findings, same=self._over_same_rows())),
            epoch_rows=attempt(
                "epochs", (), lambda: tuple(epoch_rows(trace, reevaluated, chosen, restoration, self._known()))
            ),
            step_rows=attempt("steps", (), lambda: tuple(step_rows(trace, checks))),
            replay=attempt(
                "replay check",
                None,
                lambda: replay_check(trace, replayer, checks, self._why_no_steps or self.problems.reason),
            ),
            ledgers=tuple(ledgers),
            restoration=restoration,
            findings=findings,
            name=name,
            versions=attempt("versions", {}, lambda: versions(trace, replayer)),
            evaluation_data=evaluation_data(self.data, replayer, measured),
            environment=environment,
            model=model_shown(header.model),
            trace=trace_shown(trace),
            saved=saved,
            policies=attempt("policies", None, lambda: policies_table(trace, self.decisions, reevaluated)),
            # Last: what could not be done until here.
            problems=self.problems.all,
            notice=notice(trace, self.problems),
            measurements=measured,
            calls=called,
        )

    def _known(self) -> dict[int, tuple[How, str | None]]:
        return how_known(self.trace, self.replayer, self.problems.reason)

    def _saved(self) -> tuple[SavedModel, ...]:
        if self.replayer is None or self.data is None:
            return saved_models(self.trace)
        return asked_states.saved(self.replayer, self._validation_values)

    def _elsewhere(self, workers: Workers, chosen: Sequence[int], again: Sequence[int]) -> dict[str, float] | None:
        """Has other processes compute most of what comes next, epoch by epoch. Returns what `evaluate` gives, which
        they need and which takes its time; None where nothing is replayed."""
        if self.replayer is None or self.data is None:
            return None
        evaluated: dict[str, float] = self.attempt("evaluate", {}, self._evaluated)
        checked = self._epochs_checked(chosen)
        jobs = [(e, e in checked, e in chosen, e in again) for e in dict.fromkeys([*chosen, *checked, *again])]
        for done in workers.done(self.replayer, evaluated, jobs, not is_short(self.trace)):
            self.replayer.learn(done.known)
            if done.check is not None:
                self._checks[done.epoch] = done.check
        return evaluated

    # ── measurements ──

    def _asked(
        self, chosen: Sequence[int], evaluated: Mapping[str, float], ledgers: Sequence[Ledger]
    ) -> dict[str, Any]:
        """What single rules ask for, by the names in `Measurements`."""
        replayer, data = self.replayer, self.data
        if replayer is None or data is None:
            return {}
        epochs = list(dict.fromkeys(x.epoch for x in ledgers))
        asked: dict[str, Callable[[], Any]] = {
            "from_zero_state": lambda: asked_states.from_zero_state(replayer),
            "in_default_batches": lambda: asked_states.in_default_batches(replayer, data, evaluated),
            "in_one_batch": lambda: asked_states.in_one_batch(replayer, data, evaluated),
            "rows_right": lambda: asked_states.rows_right(replayer, data),
            "as_logits": lambda: asked_states.as_logits(replayer, data),
            "scored": lambda: asked_states.scored(replayer, chosen),
            "started": lambda: asked_states.started(replayer),
            "ema_values": lambda: asked_states.ema_values(replayer, self.decisions, self._validation_values),
            "end_of_epoch": lambda: asked_states.end_of_epoch(replayer, epochs),
        }
        return {name: self.attempt(name.replace("_", " "), {}, measure) for name, measure in asked.items()}

    def _reevaluate(self, epochs: Sequence[int]) -> dict[int, dict[str, float]]:
        if self.replayer is None or self.data is None:
            return {}
        found, coarse = {}, not is_short(self.trace)
        for epoch in epochs:
            with self.problems.noted("re-evaluation"):
                found[epoch] = self.replayer.evaluate_state(self.replayer.states.end_of(epoch), coarse=coarse)
        return found

    def _evaluated(self) -> dict[str, float]:
        """The framework's own `evaluate` with the weights after fit (those of the last finished epoch if the fit did
        not end)."""
        if self.replayer is None or self.data is None:
            return {}
        found = asked_states.evaluated(self.replayer, self.data)
        if self.replayer.engine.evaluate_draws:
            self.problems.note(EVALUATE_DRAWS())
        return found

    def _evaluated_twice(self, evaluated: Mapping[str, float]) -> dict[str, dict[str, float]]:
        if self.replayer is None or self.data is None:
            return {}
        return asked_states.evaluated_twice(self.replayer, self.data, evaluated)

    def _restoration(
        self,
        reevaluated: Mapping[int, Mapping[str, float]],
        evaluated: Mapping[str, float],
        held_validation: Mapping[str, float],
    ) -> Restoration | None:
        if self.restorer is None:
            return None
        key = self.restorer.monitor
        if not self.restorer.on_training_value:
            # Where an average was validated in the place of the weights, no epoch's own value was logged.
            values = {
                e.epoch: e.logs[key]
                for e in self.trace.epochs
                if isinstance(e.logs.get(key), (int, float)) and e.last_version in clock(self.trace, e, key).owners
            }
        else:
            values = {e: v[key] for e, v in reevaluated.items() if key in v}
        held = (held_validation if self.restorer.source == "validation" else evaluated).get(key)
        if self.restorer.source == "end-of-epoch":
            held = held_value(self.trace, key)
        found = judge(
            self.trace,
            self.restorer,
            self.trace.final,
            Values(held=held, confirm=self._confirm, reevaluated=values, other_loss=self._other_loss),
        )
        if found is None:
            return None
        if self.restorer.on_training_value and len(values) < len(self.trace.epochs):
            note = EVALUATED_AGAIN(epochs=len(self.trace.epochs), again=len(values))
            found = replace(found, notes=(*found.notes, note))
        return restoration_sentence(found, self.restorer, self.trace, {**evaluated, **held_validation})

    def _held_validation(self) -> dict[str, float]:
        """The validation metrics of the weights after fit, over the batches of the last validation pass."""
        final = self.trace.final
        if self.replayer is None or final is None or not self.trace.evaluations:
            return {}
        return self._validation_values(final, self.trace.evaluations[-1].epoch)

    def _over_same_rows(self) -> bool:
        """Whether all rows of the fit are evaluated, and no others."""
        from diagnose.replay.evaluation import ROWS_FIT_USED

        source = None if self.data is None else self.data.source
        if not isinstance(source, Said) or source.id != ROWS_FIT_USED.id:
            return False
        return source.params.get("local") is None and not source.params.get("recorded")

    def _validation_values(self, state: State, epoch: int) -> dict[str, float]:
        found = self.trace.index.validation_of(epoch)
        if self.replayer is None or found is None or found.batches is None:
            return {}
        try:
            batches = [self.trace.batch(ref) for ref in self.trace.batches(found.batches)]
            fixed = bool(batches) and batches[0].fixed
            if self.replayer.spread is not None and self.replayer.spread.partial is not None:
                return {}
            values = self.replayer.over(state, batches, fixed=fixed, evaluation=found.evaluation)
            return {f"val_{k}": v for k, v in values.items()}
        except ReplayError:
            return {}

    def _confirm(self, epoch: Epoch, key: str) -> bool | None:
        if self.replayer is None:
            return None
        return confirm(self.replayer, epoch, key, self._checked, self._validation_values)

    def _other_loss(self, epoch: Epoch, key: str) -> bool:
        if self.replayer is None:
            return False
        return only_the_loss(self.replayer, epoch, key, self._checked, self._validation_values)

    def _other_losses(self, checks: Mapping[int, EpochCheck]) -> dict[int, int]:
        if self.replayer is None:
            return {}
        return {epoch: n for epoch, check in checks.items() if (n := other_loss(self.replayer, check))}

    def _chosen_epochs(self) -> list[int]:
        nothing = Values(held=None, confirm=lambda epoch, key: None, reevaluated={})
        first = None if self.restorer is None else judge(self.trace, self.restorer, self.trace.final, nothing)
        return analysed(self.trace, self.wanted, self.decisions, None if first is None else first.restored_epoch)

    def _checked(self, epoch: int) -> EpochCheck | None:
        from diagnose.replay.check import check_epoch

        if epoch not in self._checks:
            self._checks[epoch] = None
            # What a ledger walks includes inference mode, which the model may not have; its steps need it not.
            for walked in (True, False) if self.data is not None and epoch in self.chosen else (False,):
                with self.problems.noted("replay of the steps"):
                    assert self.replayer is not None
                    try:
                        self._checks[epoch] = check_epoch(self.replayer, epoch, walked=walked)
                    except ReplayError as error:
                        if not walked and self._why_no_steps is None:
                            self._why_no_steps = str(error)
                        raise
                    break
        return self._checks[epoch]

    def _check(self, chosen: list[int]) -> dict[int, EpochCheck]:
        if self.replayer is None:
            return {}
        found = {epoch: self._checked(epoch) for epoch in self._epochs_checked(chosen)}
        if any(check is None or not all(s.reproduced for s in check.steps) for check in found.values()):
            why = self.attempt("what no trace holds", None, self.replayer.engine.unrecorded)
            self.problems.cannot(why)
            self._why_no_steps = why or self._why_no_steps
        return {epoch: check for epoch, check in found.items() if check is not None}

    def _epochs_checked(self, chosen: Sequence[int]) -> list[int]:
        if not is_short(self.trace):
            return list(chosen)
        # One that did not end too: nothing was logged for it, but its steps were recorded.
        return list(dict.fromkeys([*(e.epoch for e in self.trace.epochs), *(s.epoch for s in self.trace.steps)]))

    def _ledgers(self, chosen: list[int], evaluated: Mapping[str, float], drawn: Mapping[str, float]) -> list[Ledger]:
        if self.replayer is None or self.data is None:
            return []
        from diagnose.ledger.build import build_ledgers

        found: list[Ledger] = []
        for epoch in self.trace.epochs:
            if epoch.epoch in chosen:
                with self.problems.noted("ledgers"):
                    found.extend(build_ledgers(self.replayer, epoch, evaluated, drawn))
        return found
