"""Every shipped scenario, run as a user runs it, against its own `EXPECTED` and an untraced run of the same script.

The oracle is `untraced.py`: plain Keras in a process of its own that never imports `diagnose`. What it shows (history,
the value of each epoch's last weights, which epoch's weights the fit left) is compared with `diagnosis.json`.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.cli.warm import diagnose

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "scenarios").glob("*.py"))
# Run here in processes of their own, as a user does; all scenarios are run in one process by tests/corpus.
NAMES = [
    "full_batch_healthy_val",
    "many_batches_loss",
    "many_batches_val",
    "single_batch",
    "threshold",
    "threshold_fixed",
]
RESTORING = [
    name for name in NAMES if "restore_best_weights=True" in (ROOT / "scenarios" / f"{name}.py").read_text("utf-8")
]
VERDICTS = {None, "aligned", "shifted", "no-owner", "not-restored", "replaced"}
KEYS = {
    *("verdict", "failed", "shows", "control_of", "other_seeds", "backends", "other_backends"),
    *("shift_updates", "owner_minus_restored", "reproduces"),
}
STATUSES = {"failed", "passed", "not-applicable"}
# A re-evaluated value is computed over batches of another size than the oracle's: float32 sums in another order.
CLOSE = 2e-5


def docstring_and_expected(script: Path) -> tuple[str, dict[str, Any]]:
    tree = ast.parse(script.read_text("utf-8"))
    found = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [getattr(t, "id", None) for t in node.targets] == ["EXPECTED"]
    ]
    assert len(found) == 1, f"{script.name} needs one literal EXPECTED"
    return ast.get_docstring(tree) or "", found[0]


@dataclass(frozen=True)
class Run:
    """One scenario: what `diagnose run` wrote and printed, and what the same script did without it."""

    expected: dict[str, Any]
    out: Path
    returncode: int
    stdout: str
    stderr: str
    plain: dict[str, Any]

    @property
    def fit(self) -> dict[str, Any]:
        assert self.returncode == 0, self.stderr
        diagnosis = json.loads((self.out / "diagnosis.json").read_text("utf-8"))
        assert diagnosis["schema"] == 1
        (fit,) = diagnosis["fits"]
        return dict(fit)

    @property
    def restoration(self) -> dict[str, Any]:
        restoration = self.fit["restoration"]
        assert restoration is not None
        return dict(restoration)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenarios")


@pytest.fixture(scope="module")
def untraced(folder: Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """What the fit of each script did without the tool."""
    files = {name: folder / f"{name}.json" for name in NAMES}
    words = [str(word) for name in NAMES for word in (ROOT / "scenarios" / f"{name}.py", files[name])]
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("untraced.py")), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(ROOT)},
        cwd=folder,
    )

    @cache
    def errors() -> str:
        return process.communicate(timeout=300)[1]

    def of(name: str) -> dict[str, Any]:
        assert errors() is not None and process.returncode == 0, errors()
        (fit,) = json.loads(files[name].read_text("utf-8"))
        return dict(fit)

    yield of
    errors()


@pytest.fixture(scope="module")
def run_scenario(folder: Path, untraced: Callable[[str], dict[str, Any]]) -> Callable[[str], Run]:
    @cache
    def run(name: str) -> Run:
        out = folder / name
        traced = diagnose("run", name, "--out", out, "--json", cwd=folder)
        expected = docstring_and_expected(ROOT / "scenarios" / f"{name}.py")[1]
        return Run(expected, out, traced.code, traced.stdout, traced.stderr, untraced(name))

    return run


@pytest.fixture
def run(run_scenario: Any, request: pytest.FixtureRequest) -> Run:
    result: Run = run_scenario(request.param)
    return result


each = pytest.mark.parametrize("run", NAMES, indirect=True)
each_restoring = pytest.mark.parametrize("run", RESTORING, indirect=True)


each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


@each_script
def test_says_what_it_shows_and_what_to_expect(script: Path) -> None:
    text, expected = docstring_and_expected(script)
    summary, _, rest = text.partition("\n")
    assert summary.endswith(".") and len(summary) <= 117 and rest.strip()
    assert {"verdict", "failed"} <= set(expected) <= KEYS
    assert ("shows" in expected) != ("control_of" in expected)
    assert expected["verdict"] in VERDICTS


@each_script
def test_is_an_ordinary_script_that_does_not_know_the_tool(script: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    # The cure is the one part that scripts do import.
    cure = {"diagnose"} if script.stem.endswith("_cured") else set()
    assert {"keras"} <= imported <= {"keras", "numpy", "sys", "tensorflow"} | cure


def test_list_shows_each_with_its_summary(folder: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "diagnose", "scenarios"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line.strip()}
    for script in SCRIPTS:
        summary = docstring_and_expected(script)[0].splitlines()[0]
        assert summary in lines[script.stem]


@each
def test_writes_its_files(run: Run) -> None:
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    written = {path.name for path in run.out.iterdir() if path.stat().st_size}
    assert {"report.html", "diagnosis.json", "fit-1.diag"} <= written
    assert any(name.endswith(".png") for name in written)


@each
def test_exactly_the_expected_rules_fail(run: Run) -> None:
    findings = run.fit["findings"]
    statuses = {finding["rule"]: finding["status"] for finding in findings}
    assert len(statuses) == len(findings), "a rule gave two findings"
    assert set(statuses) >= {
        "one-step-epoch",
        "moving-average-of-weights",
        "threshold-on-training-metric",
        "no-restore",
    }
    assert set(statuses.values()) <= STATUSES
    assert {rule for rule, status in statuses.items() if status == "failed"} == set(run.expected["failed"])
    for finding in findings:
        assert finding["title"]
        assert finding["status"] != "failed" or (finding["evidence"] and finding["advice"])


@each
def test_verdict(run: Run) -> None:
    restoration = run.fit["restoration"]
    assert (restoration["verdict"] if restoration else None) == run.expected["verdict"]


@each
def test_logs_are_those_of_the_untraced_run(run: Run) -> None:
    history = run.plain["history"]
    epochs = run.fit["epochs"]
    assert [row["epoch"] for row in epochs] == list(range(1, len(history["loss"]) + 1))
    assert {name: [row["logged"][name] for row in epochs] for name in history} == history


@each
def test_reevaluated_values_are_what_evaluate_returns_for_the_epochs_last_weights(run: Run) -> None:
    epochs = run.fit["epochs"]
    for row, plain in zip(epochs, run.plain["epochs"], strict=True):
        assert set(row["reevaluated"]) >= set(plain)
        for name, value in plain.items():
            assert row["reevaluated"][name] == pytest.approx(value, rel=CLOSE), (row["epoch"], name)


@each
def test_every_step_is_numbered_and_replayed(run: Run) -> None:
    fit = run.fit
    firsts = [row["first_version"] for row in fit["epochs"]]
    lasts = [row["last_version"] for row in fit["epochs"]]
    assert firsts == [0, *lasts[:-1]]
    assert len({last - first for first, last in zip(firsts, lasts, strict=True)}) == 1
    assert fit["steps"] == lasts[-1]
    assert 0 < fit["replay"]["steps"] == fit["replay"]["reproduced"] <= fit["steps"]
    for name, error in fit["replay"]["max_abs_error"].items():
        assert abs(error) <= CLOSE * max(abs(value) for value in run.plain["history"][name])


@each
def test_ledgers_add_up_between_the_logged_and_the_evaluated_value(run: Run) -> None:
    ledgers = run.fit["ledgers"]
    assert {ledger["metric"] for ledger in ledgers} == set(run.plain["final"])
    for ledger in ledgers:
        assert ledger["logged"] == run.plain["history"][ledger["metric"]][ledger["epoch"] - 1]
        assert ledger["evaluated"] == pytest.approx(run.plain["final"][ledger["metric"]], rel=CLOSE)
        total = sum(entry["amount"] for entry in ledger["entries"]) + ledger["residual"]
        size = max(abs(ledger["logged"]), abs(ledger["evaluated"]))
        assert total == pytest.approx(ledger["gap"], abs=1e-12 * size)
        assert ledger["gap"] == pytest.approx(ledger["evaluated"] - ledger["logged"], abs=1e-12 * size)
        assert abs(ledger["residual"]) <= CLOSE * size
        assert all(entry["low"] <= entry["amount"] <= entry["high"] for entry in ledger["entries"])


@each_restoring
def test_restoration_tells_which_weights_the_fit_left(run: Run) -> None:
    restoration, history = run.restoration, run.plain["history"]
    monitored = history[restoration["monitor"]]
    best = monitored.index(min(monitored)) + 1
    rows = "final_validation" if restoration["monitor"].startswith("val_") else "final"
    last_version = {row["epoch"]: row["last_version"] for row in run.fit["epochs"]}

    assert best < len(monitored), "the scenario must stop after its best epoch"
    assert restoration["callback"] == "EarlyStopping"
    assert (restoration["best_epoch"], restoration["best_logged"]) == (best, min(monitored))
    assert [restoration["restored_epoch"]] == run.plain["final_is_epoch"] == [best]
    assert restoration["restored_version"] == last_version[best]
    assert restoration["restored_value"] == pytest.approx(
        run.plain[rows][restoration["monitor"].removeprefix("val_")], rel=CLOSE
    )


@each_restoring
def test_owner_is_the_version_the_logged_best_was_computed_at(run: Run) -> None:
    restoration = run.restoration
    owners = [restoration["restored_version"] + offset for offset in run.expected["owner_minus_restored"]]
    assert restoration["owner_versions"] == owners
    best = next(row for row in run.fit["epochs"] if row["epoch"] == restoration["best_epoch"])
    if restoration["monitor"].startswith("val_"):
        span = {"first": best["last_version"], "last": best["last_version"]}
    else:
        span = {"first": best["first_version"], "last": best["last_version"] - 1}
    assert restoration["computed_at"] == span
    if "shift_updates" in run.expected:
        assert restoration["shift_updates"] == run.expected["shift_updates"]


@each_restoring
def test_best_by_reevaluation_is_the_lowest_that_evaluate_returns(run: Run) -> None:
    restoration = run.restoration
    rows = "validation" if restoration["monitor"].startswith("val_") else "epochs"
    values = [epoch[restoration["monitor"].removeprefix("val_")] for epoch in run.plain[rows]]
    best = restoration["best_by_reevaluation"]
    assert best["epoch"] == values.index(min(values)) + 1
    assert best["version"] == run.fit["epochs"][best["epoch"] - 1]["last_version"]
    assert best["value"] == pytest.approx(min(values), rel=CLOSE)


@pytest.mark.parametrize("run", ["single_batch"], indirect=True)
def test_single_batch_restores_the_next_epochs_loss(run: Run) -> None:
    restoration, losses = run.restoration, run.plain["history"]["loss"]
    best = restoration["best_epoch"]
    assert best >= 3
    following = losses[best]  # 0-based: the epoch after the best one
    assert following > 1.1 * restoration["best_logged"]
    assert restoration["restored_value"] == pytest.approx(following, rel=CLOSE)
    owner = run.plain["epochs"][best - 2]["loss"]  # the epoch before the best one
    assert restoration["best_logged"] == pytest.approx(owner, rel=CLOSE)
    ledger = next(x for x in run.fit["ledgers"] if (x["metric"], x["epoch"]) == ("loss", best))
    amounts = {entry["factor"]: entry["amount"] for entry in ledger["entries"]}
    assert amounts.pop("weights-lag") == pytest.approx(following - losses[best - 1], rel=1e-4)
    assert all(abs(amount) <= CLOSE * following for amount in amounts.values())


@pytest.mark.parametrize("run", ["many_batches_loss"], indirect=True)
def test_many_batches_loss_reproduces_no_logged_loss(run: Run) -> None:
    restoration, losses = run.restoration, run.plain["history"]["loss"]
    best = restoration["best_epoch"]
    nearest = min(abs(restoration["restored_value"] - logged) / logged for logged in losses[best - 1 : best + 1])
    assert nearest > 0.05, "the restored model must give neither the best epoch's loss nor the next one's"
    assert restoration["best_by_reevaluation"]["epoch"] != best
    assert restoration["shift_updates"] is None


@pytest.mark.parametrize("run", ["threshold"], indirect=True)
def test_threshold_stops_at_an_accuracy_that_the_model_does_not_have(run: Run) -> None:
    accuracies = run.plain["history"]["accuracy"]
    assert accuracies[-1] >= 1.0 > max(accuracies[:-1])
    assert run.plain["final"]["accuracy"] < 1.0
    assert run.fit["epochs"][-1]["reevaluated"]["accuracy"] == pytest.approx(run.plain["final"]["accuracy"], abs=1e-6)


@pytest.mark.parametrize("run", ["threshold_fixed"], indirect=True)
def test_threshold_fixed_stops_with_the_accuracy_it_waited_for(run: Run) -> None:
    accuracies = run.plain["history"]["val_accuracy"]
    assert len(accuracies) < 300
    assert accuracies[-1] >= 1.0 > max(accuracies[:-1])
    assert run.plain["final"]["accuracy"] == 1.0
    assert run.fit["epochs"][-1]["reevaluated"]["accuracy"] == 1.0
