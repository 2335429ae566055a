"""The files of a report, side by side in one folder. Knows their names; what is in them is the renderers' business."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from diagnose.errors import DiagnoseError
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.texts import Texts, speaking

_FIGURE = re.compile(r"(fit-\d+-)?(timeline|ledger)\.png")


def write_reports(
    diagnoses: Sequence[Diagnosis],
    out: str | os.PathLike[str],
    texts: Texts | None = None,
    *,
    document: str | None = None,
) -> list[Path]:
    """Writes `report.html`, `diagnosis.json` and the figures as PNG into `out`, which is made if need be.

    The figures of the first fit are `timeline.png` and `ledger.png`; those of later fits carry the fit's number:
    `fit-2-timeline.png`. A fit without logged values has no timeline, one without ledgers no ledger figure. Figures
    that an earlier report left under such names are removed, so that the folder never mixes two runs. `texts`: the
    language of page and figures (None: that being spoken, English unless said). `document`: the text of
    `diagnosis.json`, where it is at hand.

    Returns:
        The files written, the HTML first.

    Raises:
        DiagnoseError: the folder or a file cannot be written.
    """
    return write_files(report_files(diagnoses, texts, document=document), Path(out))


def report_files(
    diagnoses: Sequence[Diagnosis], texts: Texts | None = None, *, document: str | None = None
) -> dict[str, bytes]:
    """What `write_reports` writes, by name, the HTML first."""
    from diagnose.report import html, json

    with speaking(texts):
        pages = [html.draw(diagnosis, index) for index, diagnosis in enumerate(diagnoses)]
        page = html.page(pages)
    text = json.dumps(diagnoses) if document is None else document
    files = {"report.html": page.encode("utf-8"), "diagnosis.json": text.encode("utf-8")}
    for prefix, drawn in zip(_prefixes(diagnoses), pages, strict=True):
        figures = {"timeline.png": drawn.timeline_png, "ledger.png": drawn.ledger_png}
        files |= {prefix + name: content for name, content in figures.items() if content is not None}
    return files


def write_files(files: Mapping[str, bytes], out: Path) -> list[Path]:
    """Writes the files of a report. Returns them; DiagnoseError where one cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for old in out.iterdir():
            if _FIGURE.fullmatch(old.name) and old.name not in files:
                old.unlink()
        for name, content in files.items():
            write_whole(out / name, content)
    except OSError as error:
        raise DiagnoseError(f"The report cannot be written to {out}: {error.strerror or error}.") from error
    return [out / name for name in files]


def _prefixes(diagnoses: Sequence[Diagnosis]) -> list[str]:
    numbers = [diagnosis.fit for diagnosis in diagnoses]
    if len(set(numbers)) < len(numbers):  # two tracers in one script both count from 1
        numbers = list(range(1, len(numbers) + 1))
    return ["" if index == 0 else f"fit-{number}-" for index, number in enumerate(numbers)]


def write_file(path: str | os.PathLike[str], text: str) -> None:
    """Writes one file; its folder must exist. Raises DiagnoseError where it cannot be written."""
    try:
        write_whole(Path(path), text.encode("utf-8"))
    except OSError as error:
        raise DiagnoseError(f"{Path(path)} cannot be written: {error.strerror or error}.") from error


def write_whole(path: Path, content: bytes) -> None:
    """Replaces `path` in one move, so that nobody reads half a file."""
    # A name nobody can guess, made anew, readable by nobody else: a report shows the user's numbers.
    descriptor, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
