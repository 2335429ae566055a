"""Names that would repaint a terminal or turn text around: nowhere do they come out as they are."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from diagnose.cli import main
from diagnose.result.codec import to_dict
from tests.hostile import forge, whole
from tests.report import examples

EVIL = "\x1b[31m\x1b]0;t\x07\x7f\x9b2J\u202e\u2066\u200f\ufeff\U000e0041"
ASSOCIATED = {
    "status",
    "source",
    "severity",
    "verdict",
    "mode",
    "kind",
    "group",
    "dtype",
    "label",
    "hook",
    "role",
    "bases",
    "hooks",
}
"""Keys whose values are one of a few words."""


def with_evil(value: Any, key: str = "") -> Any:
    """`value` with the marks after every text that may be anything."""
    if isinstance(value, dict):
        return {k: with_evil(item, k) for k, item in value.items()}
    if isinstance(value, list):
        return [with_evil(item, key) for item in value]
    return value + EVIL if isinstance(value, str) and key not in ASSOCIATED else value


def unshown(text: str) -> set[str]:
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A trace with marks in every name of its header and events, under a name with marks."""
    found = tmp_path / f"a{EVIL}.diag"
    plain = tmp_path / "plain.diag"
    whole.write(plain)
    records = forge.records(plain)
    for table, columns in records:
        if table == "info" and columns[0] != "array_index":
            value = with_evil(json.loads(columns[1]))
            for entry in value if columns[0] == "callbacks" else []:
                for side in (entry["settings"],):  # what decides must stay what it is
                    side["monitor"] = side.get("monitor", "").removesuffix(EVIL)
            columns[1] = json.dumps(value)
        if table == "events" and columns[0] != "callbacks-final":
            columns[3] = json.dumps(with_evil(json.loads(columns[3])))
    forge.rewrite(plain, records)
    plain.rename(found)
    whole.weights_file(tmp_path / f"w{EVIL}.npz")
    return found


@pytest.mark.parametrize("stored", [False, True])
def test_no_mark_reaches_a_report(stored: bool, path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if stored:
        for make in (examples.aligned, examples.many_batches):
            value = with_evil(to_dict(make()))
            forge.rewrite(path, forge.records(path), json.dumps(value))
            reported(path, tmp_path, capfd)
    else:
        reported(path, tmp_path, capfd)


def reported(path: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--json"]):
        assert main(["report", str(path), "--out", str(folder / "out"), *more]) == 0
        printed = capfd.readouterr()
        assert printed.out + printed.err and unshown(printed.out + printed.err) == set()
    for file in (folder / "out").iterdir():
        if file.suffix in (".html", ".json"):
            assert unshown(file.read_text("utf-8")) == set(), file.name
    assert main(["policies", str(path)]) == 0
    assert main(["policies", str(path), "--json"]) == 0
    printed = capfd.readouterr()
    assert unshown(printed.out) | unshown(printed.err) == set()


def test_no_mark_reaches_an_identification(path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights = str(tmp_path / f"w{EVIL}.npz")
    for more in ([], ["--json"]):
        code = main(["identify", str(path), weights, *more])
        printed = capfd.readouterr()
        assert code == 0 and printed.out and unshown(printed.out) | unshown(printed.err) == set()


@pytest.mark.parametrize("words", [["report", "{}"], ["identify", "{}", "{}"], ["policies", "{}"], ["run", "{}.py"]])
def test_no_mark_reaches_an_error(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([word.format(f"none{EVIL}") for word in words]) == 1
    printed = capfd.readouterr()
    assert "none\\x1b[31m" in printed.err and unshown(printed.err) == set() and printed.err.count("\n") == 1


def test_no_mark_reaches_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["policies", "a.diag", f"--no{EVIL}"])
    printed = capfd.readouterr()
    assert caught.value.code == 2 and "--no\\x1b[31m" in printed.err and unshown(printed.err) == set()


def test_marks_in_json_read_back_as_they_were(path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    value = to_dict(examples.aligned())
    value["name"] = f"漢é{EVIL}"
    forge.rewrite(path, forge.records(path), json.dumps(value))
    assert main(["report", str(path), "--out", str(tmp_path / "out"), "--json"]) == 0
    text = capfd.readouterr().out
    assert json.loads(text)["fits"][0]["name"] == f"漢é{EVIL}" and "漢é" in text
