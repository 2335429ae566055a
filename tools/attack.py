"""Attacks the promises of `docs/trust.md` and prints what held, as rows of a Markdown table.

    python tools/attack.py                                    # every attack, briefly
    python tools/attack.py --forged 100000 --flips 20000 --seconds 3600 --keep failed
    python tools/attack.py --forged 1 --first 4711 --seed 7   # one case again

An attack makes its cases from the seed and the case's number alone. The input of the first failing case of each place
is kept, with the error, in the folder of `--keep`. Exit code 1: something failed. Needs the package, TensorFlow for
the attacks that begin with a fit, and Linux for figures of memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the checkout's own code, from whatever folder this is called
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["MPLBACKEND"] = "Agg"

from tools.attacks.runner import HEAD, Attack, run  # noqa: E402


def _attacks() -> tuple[Attack, ...]:
    from tools.attacks import bounds, errors, flips, forged, kills, weights

    return (
        kills.WRITERS, kills.FITS, errors.WRITER, errors.FITS, flips.FLIPS, flips.JOURNALS, forged.FORGED, forged.VERB,
        weights.WEIGHTS, bounds.BOUNDS,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the attacks asked for. Returns the exit code."""
    attacks = _attacks()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    for attack in attacks:
        parser.add_argument(f"--{attack.name}", type=int, metavar="N", dest=attack.name, help=attack.what)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="for each attack at most (default: no bound)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first case (default: 0)")
    parser.add_argument("--keep", type=Path, default=None, metavar="DIR", help="where failing inputs go")
    options = vars(parser.parse_args(argv))
    asked = {a.name: options[a.name] for a in attacks if options[a.name] is not None}
    counts = asked or {a.name: a.short for a in attacks}
    keep = options["keep"] or Path(tempfile.mkdtemp(prefix="attack-failed-"))
    print(HEAD, flush=True)
    failed = 0
    for attack in attacks:
        if attack.name not in counts:
            continue
        with tempfile.TemporaryDirectory(prefix="attack-", dir=_memory()) as work:
            row = run(
                attack, count=counts[attack.name], seconds=options["seconds"], seed=options["seed"],
                first=options["first"], work=Path(work), keep=keep,
            )  # fmt: skip
        print(row.markdown(), flush=True)
        for key, worst in row.worst.items():
            most = ", ".join(f"{n:.1f} {unit} ({which})" for unit, (n, which) in worst.items())
            print(f"| {row.name}: worst of `{key}` | | | | {most} |", flush=True)
        failed += row.failed
        for place, number in row.places.most_common():
            print(f"{attack.name}: {number:,} × {place}", file=sys.stderr)
        print(f"{attack.name}: {row.tried:,} cases in {row.took:.0f} s", file=sys.stderr, flush=True)
    if failed:
        print(f"Failing inputs: {keep}", file=sys.stderr)
    elif options["keep"] is None:
        keep.rmdir()
    return 1 if failed else 0


def _memory() -> Path | None:
    """A folder in memory, where there is one: a hundred thousand files of a megabyte need not reach a disk."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else None


if __name__ == "__main__":
    sys.exit(main())
