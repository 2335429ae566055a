"""The shipped scenarios: where they are, and what they say of themselves. Parses them; never runs them."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path

from diagnose.errors import DiagnoseError

_PACKAGE = Path(__file__).resolve().parents[1]


def folder() -> Path:
    """The folder with the scenarios: inside an installed package, else beside the package in a checkout."""
    shipped = _PACKAGE / "_scenarios"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "scenarios"


def names() -> list[str]:
    """Names of all scenarios, sorted."""
    return sorted(p.stem for p in folder().glob("*.py") if not p.name.startswith("_"))


def summary(name: str) -> str:
    """The first line of a scenario's docstring."""
    tree = ast.parse((folder() / f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").split("\n", 1)[0]


def is_scenario(target: str) -> bool:
    """Whether `find` takes this for a scenario's name."""
    return not target.endswith(".py") and target in names()


def find(target: str) -> Path:
    """The script for a scenario's name or a path.

    Raises:
        DiagnoseError: there is neither; names what comes nearest.
    """
    path = Path(target)
    if is_scenario(target):
        return folder() / f"{target}.py"
    if path.is_file():
        return path
    if path.suffix == ".py" or path.is_dir() or len(path.parts) > 1:
        return _missing_script(path)
    near = difflib.get_close_matches(target, names(), n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(near)}?" if near else " `python -m diagnose scenarios` lists them."
    raise DiagnoseError(f"There is no scenario or script '{target}'.{hint}")


def _missing_script(path: Path) -> Path:
    if path.is_dir():
        raise DiagnoseError(f"{path} is a folder; name a script in it.")
    parent = path.parent
    beside = [p.name for p in parent.glob("*.py")] if parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(str(parent / n) for n in near)}?" if near else ""
    raise DiagnoseError(f"There is no script '{path}'.{hint}")
