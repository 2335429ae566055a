"""Runs the cases of one attack in a process of their own, watched from outside, and counts what held.

A case that hangs, crashes the interpreter or takes too much memory is a failure like any other: the watching process
kills it, keeps its input and goes on with the next case in a new process.
"""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

KEPT = 20
"""Failing inputs kept per attack: the first of each place first."""
LOADING = 600
"""Seconds that an attack may take to load what its cases begin with."""
ADDRESS_SPACE = 6 * 2**30
"""More than any case may need, so that a runaway one ends with a MemoryError of its own before the machine's end."""


class Failed(Exception):
    """What a case raises where a promise did not hold. Its message goes into the list of failures."""


class Finished(Exception):
    """What a case raises where there are no more cases."""


class Measured(str):
    """How a case held that measured another process: with a name `key|which`, its seconds and megabytes."""

    def __new__(cls, text: str, name: str = "", seconds: float = 0.0, megabytes: float = 0.0) -> Self:
        made = super().__new__(cls, text)
        made.name, made.seconds, made.megabytes = name, seconds, megabytes
        return made

    name: str
    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Attack:
    """One kind of attack.

    Args:
        name: the command's option, `--name N`.
        what: what is done to what, for the table.
        prepare: makes, once, the files that the cases begin with, in the folder it is given.
        load: called in the process that runs the cases; what it returns is the first argument of each.
        case: runs one case with (loaded, its number, its random numbers, an empty folder for its files). Returns how
            it held, in a word or two; raises Failed, Finished, or whatever escaped.
        short: how many cases a run without options makes.
        seconds, megabytes: what one case may take, in seconds of the processor and of memory beyond what the process
            had; None: not watched.
        hang: seconds by the clock after which a case is given up; one that computes is at twice `seconds`.
    """

    name: str
    what: str
    prepare: Callable[[Path], None]
    load: Callable[[Path], Any]
    case: Callable[[Any, int, random.Random, Path], str]
    short: int
    seconds: float | None = 10.0
    megabytes: float | None = 500.0
    hang: float = 300.0


@dataclass
class Row:
    """What came of one attack."""

    name: str
    what: str
    tried: int = 0
    failed: int = 0
    how: collections.Counter[str] = field(default_factory=collections.Counter)
    places: collections.Counter[str] = field(default_factory=collections.Counter)
    worst_seconds: float = 0.0
    worst_megabytes: float = 0.0
    took: float = 0.0
    first: list[str] = field(default_factory=list)
    worst: dict[str, dict[str, tuple[float, str]]] = field(default_factory=dict)
    """For each key of what was measured: the most seconds and the most megabytes, each with which it was."""

    @property
    def held(self) -> int:
        return self.tried - self.failed

    def take(self, how: str, seconds: float, megabytes: float) -> None:
        """Takes in what a case took, or what it measured."""
        if isinstance(how, Measured):
            seconds, megabytes = how.seconds, how.megabytes
            key, _, which = how.name.partition("|")
            known = self.worst.setdefault(key, {"s": (0.0, ""), "MB": (0.0, "")})
            known["s"] = max(known["s"], (seconds, which))
            known["MB"] = max(known["MB"], (megabytes, which))
        self.worst_seconds = max(self.worst_seconds, seconds)
        self.worst_megabytes = max(self.worst_megabytes, megabytes)

    def markdown(self) -> str:
        how = ", ".join(f"{n:,} {text}" for text, n in self.how.most_common())
        worst = f"{self.worst_seconds:.1f} s, {self.worst_megabytes:.0f} MB" if self.worst_megabytes else "–"
        failed = f"**{self.failed:,}** in {len(self.places)} places" if self.failed else "0"
        return f"| {self.name}: {self.what} | {self.tried:,} | {self.held:,} ({how}) | {failed} | {worst} |"


HEAD = "| attack | tried | held | failed | worst case |\n| --- | --- | --- | --- | --- |"


def run(attack: Attack, *, count: int, seconds: float, seed: int, first: int, work: Path, keep: Path) -> Row:
    """Runs cases `first` to `first + count - 1`, as many as fit into `seconds`, and returns what came of them."""
    row = Row(attack.name, attack.what)
    base = work / f"{attack.name}-base"
    base.mkdir()
    begun = time.monotonic()
    attack.prepare(base)
    number, left = first, seconds
    while number < first + count and left > 0:
        number, spent = _watch(attack, row, (number, first + count), left, seed, base, work, keep)
        left -= spent
    row.took = time.monotonic() - begun
    return row


def _watch(
    attack: Attack, row: Row, numbers: tuple[int, int], seconds: float, seed: int, base: Path, work: Path, keep: Path
) -> tuple[int, float]:
    """Watches one process until it has run all cases, or one that it does not survive. Returns the next number, and
    the seconds that the cases took."""
    ours, theirs = multiprocessing.Pipe()
    folder = work / f"{attack.name}-case"
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_cases, args=(attack, numbers, seconds, seed, base, folder, theirs))
    process.start()
    theirs.close()
    number = numbers[0]
    begun = 0.0
    try:
        if ours.poll(LOADING) and (why := ours.recv()):
            raise RuntimeError(f"{attack.name} cannot begin:\n{why}")
        begun = time.monotonic()
        while ours.poll(attack.hang):
            try:
                message = ours.recv()
            except EOFError:
                process.join()
                text = f"the process ended with {process.exitcode}"
                if process.exitcode == -signal.SIGXCPU:
                    text = f"computes for more than {2 * (attack.seconds or 0):.0f} s"
                _note(row, attack, number, seed, text, text, folder, keep)
                return number + 1, time.monotonic() - begun
            if message is None:
                return numbers[1], time.monotonic() - begun
            number, how, failure, place, took, megabytes = message
            row.take(how, took, megabytes)
            if failure is None:
                row.tried += 1
                row.how[how] += 1
            else:
                _note(row, attack, number, seed, failure, place, folder, keep)
                ours.send("kept")
            number += 1
        _note(row, attack, number, seed, f"not done after {attack.hang:.0f} s", "hangs", folder, keep)
        return number + 1, time.monotonic() - begun
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        ours.close()


def _note(row: Row, attack: Attack, number: int, seed: int, failure: str, place: str, folder: Path, keep: Path) -> None:
    row.tried += 1
    row.failed += 1
    row.places[place] += 1
    if row.places[place] == 1 and len(row.first) < KEPT:
        kept = keep / f"{attack.name}-{number}"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        if folder.exists():
            shutil.copytree(folder, kept / "input", symlinks=True, ignore_dangling_symlinks=True)
        again = f"tools/attack.py --{attack.name} 1 --first {number} --seed {seed}"
        (kept / "why.txt").write_text(f"{again}\n\n{failure}\n", encoding="utf-8", errors="backslashreplace")
        row.first.append(f"{kept.name}: {place}")


def _cases(
    attack: Attack, numbers: tuple[int, int], seconds: float, seed: int, base: Path, folder: Path, sender: Any
) -> None:
    """The process under watch."""
    _bound_address_space()
    try:
        loaded = attack.load(base)
    except BaseException:
        sender.send(traceback.format_exc())
        return
    sender.send("")
    end = time.monotonic() + seconds
    for number in range(*numbers):
        if time.monotonic() > end and number > numbers[0]:
            break
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        chance = random.Random(f"{seed}/{attack.name}/{number}")
        before, cpu = reset_peak(), time.process_time()
        if attack.seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu + 2 * attack.seconds) + 2, resource.RLIM_INFINITY))
        how, failure, place = "", None, ""
        try:
            how = attack.case(loaded, number, chance, folder)
        except Finished:
            break
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            place = _place(error)
            failure = str(error) if isinstance(error, Failed) else "".join(traceback.format_exception(error))
        took, peak = time.process_time() - cpu, peak_megabytes()
        grown = max(0.0, peak - before)
        if failure is None and attack.seconds is not None and took > attack.seconds:
            failure, place = f"took {took:.1f} s ({how})", "time"
        if failure is None and attack.megabytes is not None and grown > attack.megabytes:
            failure, place = f"took {grown:.0f} MB ({how})", "memory"
        sender.send((number, how, failure, place, took, grown))
        if failure is not None:
            sender.recv()  # until the watching process has copied this case's files
    sender.send(None)


def _bound_address_space() -> None:
    if sys.platform.startswith("linux"):
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, resource.RLIM_INFINITY))


def _place(error: BaseException) -> str:
    """A name for the fault: two cases of the same name are one finding."""
    if isinstance(error, Failed):
        return re.sub(r"(?<![\\\w])\d+(\.\d+)?", "N", str(error).split("\n")[0])[:150]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}diagnose{os.sep}" in f.filename]
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
    return f"{type(error).__name__}{at}"


def reset_peak() -> float:
    """Starts the peak of memory anew (Linux); returns the memory held now, in MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_megabytes() -> float:
    """The most memory held since `reset_peak`, in MB; 0 where the system does not say."""
    return _status("VmHWM")


def _status(key: str) -> float:
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(key):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0
