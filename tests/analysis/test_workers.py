"""Replay by other processes gives what this one gives. Most of it with an engine in NumPy, whose workers start in no
time; the pools, the cluster and the processes are real."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import loky
import pytest

import diagnose.analysis.workers as workers
from diagnose import Diagnosis, read_trace
from diagnose.analysis.analyze import analyse
from diagnose.errors import WorkerError
from diagnose.result.codec import to_dict
from tests.cli.warm import diagnose
from tests.replay.plain_engine import RATES, Linear, LinearFactory, record

ROOT = Path(__file__).parents[2]
IN_THIS_PROCESS = "it is done in this process"


class Counting(Executor):
    """Hands jobs on and keeps them."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.jobs: list[tuple[workers.Job, Future[Any]]] = []

    def submit(self, job: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future = self.executor.submit(job, *arguments, **options)
        self.jobs.append((job, future))
        return future


@contextlib.contextmanager
def pool(count: int = 1) -> Iterator[Counting]:
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as found:
        yield Counting(found)


def by(executor: Executor | None, path: Path, factory: Any = None) -> Diagnosis:
    with read_trace(path) as trace:
        return analyse(trace, factory=factory or LinearFactory(), epochs="all", executor=executor)


@pytest.mark.parametrize("every_update", [True, False], ids=["all kept", "made again"])
def test_the_same_diagnosis(every_update: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "loop.diag"
    record(path, batch=2, every_update=every_update)
    here = to_dict(by(None, path))
    done = 0
    original = Linear.forward

    def counted(self: Linear, *arguments: Any, **options: Any) -> Any:
        nonlocal done
        done += 1
        return original(self, *arguments, **options)

    monkeypatch.setattr(Linear, "forward", counted)
    assert to_dict(by(None, path)) == here
    alone, done = done, 0
    with pool(2) as executor:
        assert to_dict(by(executor, path)) == here
    assert [job.epoch for job, _ in executor.jobs] == [1, 2, 3, 4][: len(RATES)]
    assert all(future.result().check is not None for _, future in executor.jobs)
    assert done < alone / 2, "most was to be computed elsewhere"


def test_threads_are_refused(tmp_path: Path) -> None:
    record(tmp_path / "loop.diag", batch=2)
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(WorkerError, match=f"take one of processes.*{IN_THIS_PROCESS}"),
    ):
        by(threads, tmp_path / "loop.diag")


class Dying(LinearFactory):
    """Ends the process it is opened in, but for the one it was made in."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def open(self, trace: Any) -> Any:
        if os.getpid() != self.home:
            os._exit(1)
        return super().open(trace)


class Staying(LinearFactory):
    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


@pytest.mark.parametrize(
    ("factory", "message"),
    [(Dying, "A replay in another process failed: .*terminated abruptly"), (Staying, "handed to another process")],
)
def test_a_worker_that_cannot(factory: Any, message: str, tmp_path: Path) -> None:
    record(tmp_path / "loop.diag", batch=2)
    with pool() as executor, pytest.raises(WorkerError, match=f"{message}.*{IN_THIS_PROCESS}"):
        by(executor, tmp_path / "loop.diag", factory())


def test_another_version_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "loop.diag", batch=2)
    monkeypatch.setattr(workers, "__version__", "0.0.1")
    with pool() as executor, pytest.raises(WorkerError, match=f"not 0.0.1.*{IN_THIS_PROCESS}"):
        by(executor, tmp_path / "loop.diag")


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """A Dask scheduler and two workers, processes on loopback; its address."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "env": environment}
            process: subprocess.Popen[str] = stack.enter_context(subprocess.Popen(command, **quiet))  # type: ignore[call-overload]
            stack.callback(process.terminate)
            return process

        scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        assert scheduler.stderr is not None
        address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
        for _ in range(2):
            start("dask_worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny", "--host", "127.0.0.1")
        yield address


@pytest.mark.slow
def test_a_dask_cluster(tmp_path: Path) -> None:
    from distributed import Client

    record(tmp_path / "loop.diag", batch=2)
    here = to_dict(by(None, tmp_path / "loop.diag"))
    with cluster() as address, Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        executor = Counting(client.get_executor())
        assert to_dict(by(executor, tmp_path / "loop.diag")) == here
        assert [future.result().epoch for _, future in executor.jobs] == [1, 2, 3, 4]


def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diagnose.cli.workers.CONNECTING", 1)
    done = diagnose("run", "single_batch", "--dask", "tcp://127.0.0.1:9", "--out", "out", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "127.0.0.1:9 cannot be reached" in done.stderr and "Replaying in this process." in done.stderr
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
def test_from_the_command_line(tmp_path: Path) -> None:
    found = []
    for words in ((), ("--workers", "2")):
        done = diagnose("run", "many_batches_val", "--json", "--out", "-".join(("out", *words)), *words, cwd=tmp_path)
        assert done.code == 0 and not done.stderr.count("Replaying in this process"), done.stderr
        (fit,) = json.loads(done.stdout)["fits"]
        found.append({key: fit[key] for key in ("epochs", "steps", "ledgers", "replay", "restoration", "findings")})
    assert found[0] == found[1]


def test_usage(tmp_path: Path) -> None:
    record(tmp_path / "loop.diag", batch=2)
    done = diagnose("report", "loop.diag", "--workers", "2", cwd=tmp_path)
    assert done.code == 2 and "or with --model" in done.stderr
    assert diagnose("run", "single_batch", "--workers", "0", cwd=tmp_path).code == 2


def test_loky_is_an_executor(tmp_path: Path) -> None:
    record(tmp_path / "loop.diag", batch=2)
    here = to_dict(by(None, tmp_path / "loop.diag"))
    with loky.ProcessPoolExecutor(1) as executor:
        assert to_dict(by(executor, tmp_path / "loop.diag")) == here
