"""What a signal handler of the user's raises comes out of fit, wherever the tracer stood: a timeout is the user's."""

from __future__ import annotations

import functools
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

from diagnose import Tracer, read_trace
from diagnose.frameworks.keras import saving
from diagnose.record import describe, describe_data, describe_metrics, previous, recorder, taking
from diagnose.record.callback_state import SavedFile
from diagnose.record.encoder import Encoder
from diagnose.record.handlers import from_handler
from diagnose.record.probe import Probe
from diagnose.record.recorder import Recorder
from diagnose.record.taking import Taker
from diagnose.record.worker import Worker
from tests.attach.fits import fit, model, rows

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no such timers here")


class Late(Exception):
    """The user's own."""


class LateOS(TimeoutError):
    """Of a kind that much code expects to see and goes on from."""


class LateValue(ValueError):
    pass


def raises(signum: int, frame: Any) -> None:
    raise Late(signum)


class Object:
    def __call__(self, signum: int, frame: Any) -> None:
        raise Late(signum)

    def method(self, signum: int, frame: Any) -> None:
        self(signum, frame)


def restores(signum: int, frame: Any) -> None:
    signal.signal(signum, signal.SIG_DFL)  # as many timeouts do: what is installed tells nothing any more
    raise Late(signum)


def with_more(more: str, *given: Any) -> None:
    raise Late(more)


def forgets(signum: Any, frame: Any) -> None:
    del signum, frame
    raise Late("of no frame")


HANDLERS: dict[str, Any] = {
    "function": raises,
    "object": Object(),
    "method": Object().method,
    "partial": functools.partial(with_more, "more"),
    "lambda": lambda *given: raises(*given),
    "wrapped": functools.wraps(raises)(lambda *given, **named: raises(*given, **named)),
    "takes itself out": restores,
    "forgets what it was given": forgets,
}


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def rings(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int = 1) -> list[int]:
    """Raises the signal within call number `at` of a function of the tracer. Returns the calls."""
    original, calls = getattr(owner, name), [0]

    def ringing(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            signal.raise_signal(signal.SIGALRM)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, ringing)
    return calls


def clean(trained: Any, callback_list: Any = None) -> None:
    """As an untraced fit leaves it."""
    for name in ("train_function", "test_function", "predict_function"):
        assert not hasattr(getattr(trained, name), "__diagnose__")


PLACES: dict[str, tuple[Any, str, int]] = {
    "opening": (recorder, "InfoItem", 1),
    "describing the optimizer": (describe, "plain", 2),
    "describing callbacks": (describe, "callback", 2),
    "serializing the model": (keras.Sequential, "to_json", 1),
    "reading the learning rate": (describe, "learning_rate", 2),
    "looking between callbacks": (Recorder, "observe", 5),
    "looking at saved places": (saving, "_visit", 1),
    "describing outputs": (describe_data, "outputs", 1),
    "describing metrics": (describe_metrics, "metric_variables", 1),
    "before a step": (Recorder, "before_step", 3),
    "numbering the optimizer": (previous, "identity", 1),
    "taking a batch": (Taker, "_array", 3),
    "taking it apart": (taking, "take", 2),
    "after a step": (Recorder, "after_step", 4),
    "handing over": (Worker, "put", 20),
    "in a validation pass": (Recorder, "before_evaluation_batch", 2),
    "looking at a saved file": (SavedFile, "_look", 2),
    "at the end of an epoch": (Recorder, "end_epoch", 1),
    "at the end of training": (Recorder, "end_training", 1),
}


EXPECTED_THERE = ("taking a batch", "looking at saved places", "looking at a saved file", "reading the learning rate")
"""Where errors of these kinds are common, and gone on from."""


@pytest.mark.parametrize(
    ("place", "kind"),
    [*((place, Late) for place in PLACES), *((place, k) for place in EXPECTED_THERE for k in (LateOS, LateValue))],
)
def test_it_comes_out_of_fit_from_every_place(
    place: str, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rung(signum: int, frame: Any) -> None:
        raise kind(place)

    signal.signal(signal.SIGALRM, rung)
    calls = rings(monkeypatch, *PLACES[place])
    trained = model()
    tracer = Tracer(tmp_path / "fit.diag")
    saving = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.weights.h5"), save_weights_only=True)
    x, y = rows()
    with pytest.raises(kind) as caught:
        trained.fit(
            x, y, validation_data=(x, y), batch_size=8, epochs=2, verbose=0, callbacks=[tracer, saving]
        )  # fmt: skip
    assert caught.value.args == (place,) and calls[0] >= PLACES[place][2]
    clean(trained)  # while the exception is still being looked at
    monkeypatch.undo()
    if tracer.runs:
        tracer.close()
        with read_trace(tracer.runs[-1].path) as trace:
            assert trace.status == "failed"
    # On JAX Keras itself cannot train a model again whose fit raised between two steps: its values are out.
    again = None if keras.config.backend() == "jax" else trained
    _, losses = fit(trained=again, callbacks=[tracer], epochs=1)
    assert [row.logged["loss"] for row in tracer.diagnose().epoch_rows] == losses


@pytest.mark.parametrize("form", HANDLERS)
def test_every_form_of_handler(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGALRM, HANDLERS[form])
    rings(monkeypatch, Recorder, "after_step", 2)
    trained = model()
    before = threading.enumerate()
    with pytest.raises(Late) as caught:
        fit(trained=trained, callbacks=[Tracer(tmp_path / "fit.diag")])
    clean(trained)
    # Of ours by their names: torch's autograd has threads of its own by now.
    new = [thread for thread in threading.enumerate() if thread not in before]
    writers = [thread for thread in new if thread.name.startswith("diagnose-")]
    for thread in writers:  # they end, although the exception and with it the whole fit is still there
        thread.join(60)
    assert not any(thread.is_alive() for thread in writers)
    with read_trace(tmp_path / "fit.diag") as trace:
        assert trace.sealed and trace.status == "failed"
    del caught


def test_errors_of_the_tracer_itself_still_stay_inside() -> None:
    """Even while a handler is installed, after one has run, and where one's exception is being handled."""

    def look(signum: int, frame: Any) -> None:
        pass

    def own() -> None:
        raise ValueError("a mistake of ours")

    signal.signal(signal.SIGALRM, look)
    signal.raise_signal(signal.SIGALRM)
    for work in (own, functools.partial(int, "x"), functools.partial(raises_with, raises)):
        try:
            work()
        except Exception as error:
            assert from_handler(error) is None


def raises_with(handler: Callable[..., None]) -> None:
    """An error while the user deals with an earlier timeout, and a function that only looks like a handler."""
    signal.signal(signal.SIGALRM, handler)
    try:
        signal.raise_signal(signal.SIGALRM)
    except Late:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        try:
            with_more("more", signal.SIGALRM, object())
        except Late as error:
            error.__traceback__ = None if error.__traceback__ is None else error.__traceback__.tb_next
            assert from_handler(error) is None
        raise ValueError from None


def test_what_was_made_from_it_is_told_by_its_cause() -> None:
    signal.signal(signal.SIGALRM, raises)
    try:
        try:
            signal.raise_signal(signal.SIGALRM)
        except Late as late:
            raise OSError("made from it") from late
    except OSError as error:
        assert isinstance(from_handler(error), Late)


RECORD = str(Path(recorder.__file__).parent)


def in_the_tracer(frame: Any) -> bool:
    """Whether the tracer stands there, by itself: TensorFlow aborts the process, or makes another error of it, where
    one comes at the wrong moment of its own."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(RECORD):
            return True
        if "tensorflow" in file or "keras" in file:
            return False
        frame = frame.f_back
    return False


@pytest.mark.parametrize("seed", range(2))
def test_it_comes_out_of_fit_at_any_moment_in_the_tracer(seed: int, tmp_path: Path) -> None:
    """A timer that rings again and again, until it rings while the tracer works."""
    chance, rang = random.Random(seed), []

    def rung(signum: int, frame: Any) -> None:
        if in_the_tracer(frame):
            rang.append(frame.f_code.co_name)
            raise Late(len(rang))
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0002, 0.003))

    signal.signal(signal.SIGALRM, rung)
    tracer = Tracer(tmp_path / "fit.diag")
    x, y = rows()
    for number in range(1, 7):
        trained = model(seed)  # another one: on JAX, Keras loses the variables of a fit that is left inside a step
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.002, 0.05))
        try:
            trained.fit(x, y, validation_data=(x, y), batch_size=2, epochs=100, verbose=0, callbacks=[tracer])
        except Late as error:
            assert error.args == (number,)
        assert len(rang) == number, rang
        clean(trained)
    tracer.close()
    for thread in threading.enumerate():
        if thread.name == "diagnose-closer":
            thread.join(60)
    for run in tracer.runs:
        with read_trace(run.path) as trace:
            assert trace.status in ("failed", "complete")  # complete: it rang while the whole trace was being sealed
            assert [s.step for s in trace.steps] == list(range(len(trace.steps)))


def test_an_interrupt_by_the_keyboard_leaves_the_model_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = Recorder.after_step, [0]

    def interrupted(self: Recorder, state: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        original(self, state)

    monkeypatch.setattr(Recorder, "after_step", interrupted)
    trained, tracer = model(), Tracer(tmp_path / "fit.diag")
    with pytest.raises(KeyboardInterrupt):
        fit(trained=trained, callbacks=[tracer])
    clean(trained)
    diagnosis = tracer.diagnose()
    assert diagnosis.notice is not None and diagnosis.steps_total == 1


def test_a_timeout_that_a_callback_catches_ends_the_recording_and_not_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler raised in the middle of recording: what would come after it does not fit what came before."""

    signal.signal(signal.SIGALRM, raises)
    tracer, caught = Tracer(tmp_path / "fit.diag"), []

    class Catches(keras.callbacks.Callback):
        """As a callback whose own `evaluate` is cut short while the tracer looks at it."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 0:
                with monkeypatch.context() as patched:
                    patched.setattr(Probe, "look", lambda self, hook: signal.raise_signal(signal.SIGALRM))
                    try:
                        Probe(tracer.recorder, None).on_epoch_begin(0)
                    except Late as late:
                        caught.append(late)

    trained, losses = fit(callbacks=[tracer, Catches()], epochs=2)
    assert len(caught) == 1 and len(losses) == 2
    clean(trained)
    tracer.close()
    with read_trace(tracer.path) as trace:
        assert trace.status == "failed" and len(trace.steps) == 0


def test_the_writer_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of the writer's thread are the tracer's own, whatever handlers are installed."""
    signal.signal(signal.SIGALRM, raises)

    def broken(self: Any, item: Any) -> None:
        raise Late("not by a handler")

    monkeypatch.setattr(Encoder, "_step", broken)
    with pytest.warns(UserWarning, match="tracing stopped"):
        _, losses = fit(callbacks=[Tracer(tmp_path / "fit.diag")])
    assert len(losses) == 2
