"""Damaged traces: every number read is the one that was written, or the reader says that the file is damaged."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnose.errors import ReplayError, TraceError
from diagnose.tracefile.reader import read_trace
from tools.attacks import bases
from tools.attacks.kills import check_prefix, kill_a_writer
from tools.attacks.runner import Attack, Failed

PAGE = 65536
SECTOR = 512


@dataclass(frozen=True)
class _Honest:
    name: str
    content: bytes
    read: dict[str, Any]
    used: list[int]


def _prepare(folder: Path) -> None:
    bases.samples(folder)
    bases.real_fit(folder)


def _load(folder: Path) -> list[_Honest]:
    found = []
    for name in ("fit.diag", "sealed.diag", "unsealed.diag"):
        content = (folder / name).read_bytes()
        with read_trace(folder / name) as trace:
            found.append(_Honest(name, content, bases.contents(trace), [i for i, b in enumerate(content) if b]))
    return found


def _case(loaded: list[_Honest], number: int, chance: random.Random, folder: Path) -> str:
    honest = loaded[number % len(loaded)]
    content, how = damage(honest.content, honest.used, chance)
    path = folder / honest.name
    path.write_bytes(content)
    try:
        with read_trace(path) as trace:
            read = bases.contents(trace)
    except TraceError:
        return "damage found"
    except ReplayError as error:
        raise Failed(f"{how} in {honest.name}: called not kept: {error}") from error
    wrong = [key for key in honest.read if read.get(key) != honest.read[key]] + [
        k for k in read if k not in honest.read
    ]
    if not wrong:
        return "unharmed"
    if all(isinstance(read.get(key), tuple) and read[key][0] == "ReplayError" for key in wrong):
        raise Failed(f"{how} in {honest.name}: damage is called 'not kept': {wrong[0]}")
    raise Failed(f"{how} in {honest.name}: another value without a word: {wrong[:3]}")


def damage(content: bytes, used: list[int], chance: random.Random) -> tuple[bytes, str]:
    """The content, damaged in one way, and which."""
    damaged = bytearray(content)
    kind = chance.choices(range(8), (10, 4, 4, 2, 2, 2, 2, 1))[0]
    if kind <= 1:
        at = chance.choice(used) if kind == 0 else _head(content, chance)
        damaged[at] ^= 1 << chance.randrange(8)
        return bytes(damaged), "a flipped bit"
    if kind in (2, 3):
        width = chance.choice((1, 16, SECTOR, 4096))
        start = chance.choice(used) // width * width
        other = chance.randrange(0, len(content), width)
        damaged[start : start + width] = chance.choice(
            (bytes(width), content[other : other + width], chance.randbytes(width))
        )[: len(content) - start]
        return bytes(damaged), "a damaged block"
    if kind in (4, 5):
        end = chance.randrange(len(content) // PAGE + 1) * PAGE + chance.choice((0, 0, -1, 1, chance.randrange(PAGE)))
        return content[: max(0, min(end, len(content)))], "a truncation"
    first, second = (chance.randrange(len(content) // PAGE) * PAGE for _ in range(2))
    if kind == 6:
        damaged[first : first + PAGE], damaged[second : second + PAGE] = (
            content[second : second + PAGE],
            content[first : first + PAGE],
        )
        return bytes(damaged), "exchanged pages"
    return content + content[first : first + PAGE], "a page more"


def _head(content: bytes, chance: random.Random) -> int:
    if chance.random() < 0.3:
        return chance.randrange(100)
    return chance.randrange(len(content) // PAGE) * PAGE + chance.randrange(24)


FLIPS = Attack("flips", "damaged traces, sealed and not, diagnosed and not", _prepare, _load, _case, 600)


# ── file and journal of a killed recording ──


def _killed(folder: Path) -> None:
    chance = random.Random(1)
    for number in range(40):
        kill_a_writer(folder / str(number) / "a.diag", chance.uniform(0.02, 0.1))


def _pairs(folder: Path) -> list[Path]:
    """Those recordings that left a journal with contents."""
    found = []
    for path in sorted(folder.glob("*/a.diag")):
        journal = path.with_name("a.diag-journal")
        if journal.exists() and journal.read_bytes()[:1] not in (b"", b"\0"):
            found.append(path.parent)
    if not found:
        raise RuntimeError("no kill fell into a transaction")
    return found


def _journal(pairs: list[Path], number: int, chance: random.Random, folder: Path) -> str:
    shutil.copytree(pairs[number % len(pairs)], folder, dirs_exist_ok=True)
    path = folder / chance.choice(("a.diag", "a.diag-journal", "a.diag-journal"))
    content = path.read_bytes()
    size = min(len(content), 4 * PAGE)
    used = [i for i in chance.sample(range(len(content)), min(200, len(content))) if content[i]] or list(range(size))
    used += range(min(28, len(content)))  # the journal's own head
    path.write_bytes(damage(content, used, chance)[0] if len(content) > PAGE else content[: chance.randrange(size + 1)])
    try:
        with read_trace(folder / "a.diag") as trace:
            check_prefix(trace)
        return "right as far as it goes"
    except TraceError:
        return "damage found"


JOURNALS = Attack("journals", "damaged traces of killed recordings, or their journals", _killed, _pairs, _journal, 100)
