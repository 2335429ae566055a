"""Whether light recordings lead to the same answers as full ones: every shipped scenario, recorded at two levels.

    python benchmarks/levels.py [NAME ...] [--level 0]

Prints what differs from level 3 in verdict, findings (but for layer names, which Keras numbers through), and values.
Ends with 1 where something does. All run in one process, on the backend that Keras chose.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.corpus import expected, run_case
from diagnose.analysis import chosen as chosen_epochs
from diagnose.cli.catalogue import names


def forget() -> None:
    """What the process knows of earlier fits: a scenario that is run again begins with the weights it had before."""
    from diagnose.record import previous

    previous._FITS.clear()


def differences(light: Any, full: Any) -> Iterator[str]:
    """Of two diagnoses of one fit."""
    if light.restoration != full.restoration:
        a, b = light.restoration, full.restoration
        yield f"verdict {a and a.verdict} / {b and b.verdict}"
    ours, theirs = ({f.rule: f for f in d.findings} for d in (light, full))
    for rule in theirs:
        a, b = ours[rule], theirs[rule]
        if (a.status, a.metric, a.effect) != (b.status, b.metric, b.effect):
            yield f"{rule}: {a.status} ({a.title}) / {b.status} ({b.title})"
    for a, b in zip(light.epoch_rows, full.epoch_rows, strict=True):
        if repr(a.logged) != repr(b.logged):  # NaN is NaN
            yield f"epoch {a.epoch} logged {a.logged} / {b.logged}"
        if repr(a.reevaluated) != repr(b.reevaluated):
            yield f"epoch {a.epoch} evaluated again {a.reevaluated} / {b.reevaluated}"
    if repr(light.ledgers) != repr(full.ledgers):
        yield f"{len(light.ledgers)} / {len(full.ledgers)} ledgers, or other amounts"
    yield from (
        f"epoch {r.epoch} not proven: {r.why}" for r in light.epoch_rows if r.how == "epoch-ends" and r.analysed
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios (default: all)")
    parser.add_argument("--level", type=int, choices=(0, 1, 2), default=0)
    options = parser.parse_args()
    import keras

    # How much is looked at goes by what a fit's steps took; whether answers are alike must not.
    chosen_epochs.SHORT_SECONDS = chosen_epochs.MOST_SECONDS = math.inf
    backend, different = keras.backend.backend(), 0
    chosen = [n for n in options.names or names() if backend in expected(n).get("backends", [backend])]
    for name in chosen:
        forget()
        full = run_case(name, level=3)
        forget()
        light = run_case(name, level=options.level)
        found = [d for pair in zip(light.diagnoses, full.diagnoses, strict=True) for d in differences(*pair)]
        different += bool(found)
        print(f"{name:<36} {'; '.join(found) or 'the same'}", flush=True)
    print(f"\n{len(chosen) - different} of {len(chosen)} the same")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
