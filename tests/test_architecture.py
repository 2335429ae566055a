"""The way of the data, held by tests: imports point one way, and reading or reporting a trace needs no Keras."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "diagnose"

LAYERS = {
    "trace": {"errors", "trace"},
    "record": {"errors", "trace", "record", "tensorflow_tools", "model_state", "diagnose"},
    "replay": {"errors", "problems", "trace", "replay", "tensorflow_tools", "model_state"},
    "ledger": {"errors", "trace", "replay", "ledger", "diagnosis"},
    "weights_files": {"errors", "trace", "weights_files"},
    "restore": {"errors", "trace", "weights_files", "restore", "diagnosis"},
    "rules": {"errors", "trace", "restore", "rules", "facts", "diagnosis"},
    "policies": {"errors", "trace", "restore", "policies", "diagnosis"},
    "report": {"errors", "problems", "report", "diagnosis", "diagnosis_json"},
}
"""What a package may import when it is imported; imports inside functions and for type checkers are not counted."""

HEAVY = ("keras", "tensorflow", "jax", "torch", "matplotlib", "pandas", "jinja2")


def imported(path: Path) -> set[str]:
    """First components below `diagnose` that a module imports at its top level."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "diagnose":
                names = [f"diagnose.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "diagnose":
                known = len(parts) > 1 and ((PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file())
                found.add(parts[1] if known else "diagnose")
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    paths = sorted((PACKAGE / layer).rglob("*.py"))
    assert paths
    wrong = {str(p.relative_to(ROOT)): imported(p) - LAYERS[layer] for p in paths if imported(p) - LAYERS[layer]}
    assert wrong == {}


def loaded_by(code: str) -> set[str]:
    """Which heavy packages are loaded after running `code` in a fresh interpreter."""
    text = f"{code}\nimport sys\nprint([n for n in {HEAVY!r} if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60)
    return set(ast.literal_eval(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import diagnose",
        "from diagnose import read_trace, Diagnosis, DiagnoseError",
        "import diagnose.cli; diagnose.cli.main(['scenarios'])",
        "import diagnose.analysis, diagnose.record.attach, diagnose.rules, diagnose.restore.verdict",
    ],
)
def test_what_is_not_used_is_not_loaded(code: str) -> None:
    assert loaded_by(code) == set()


def test_only_record_and_replay_name_keras() -> None:
    allowed = {"record", "replay", "tensorflow_tools.py", "callbacks.py"}
    named = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        and {"keras", "tensorflow", "jax", "torch"}
        & {
            name.split(".")[0]
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        }
    }
    assert named <= allowed


def test_modules_stay_small() -> None:
    sizes = {p.relative_to(ROOT): len(p.read_text(encoding="utf-8").splitlines()) for p in PACKAGE.rglob("*.py")}
    assert {str(p): n for p, n in sizes.items() if n > 400} == {}
