"""The way of the data, held by tests: imports point one way, and reading or reporting a trace needs no Keras."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "diagnose"

HEAVY = ("keras", "tensorflow", "jax", "torch", "matplotlib", "pandas", "jinja2")

SHARED = {"errors", "version"}
"""What everything may import but `frameworks`."""

ROOMS = {
    "errors": set(),
    "version": set(),
    "frameworks": set(),
    "callbacks": {"frameworks"},
    "tracefile": {"errors"},
    "result": {"errors"},
    "decide": {"tracefile", "result"},
    "record": {"tracefile", "frameworks", "result"},
    "replay": {"tracefile", "frameworks", "result"},
    "ledger": {"replay", "tracefile", "result"},
    "identify": {"decide", "tracefile", "result"},
    "policies": {"decide", "tracefile", "result"},
    "rules": {"decide", "replay", "tracefile", "result"},
    "analysis": {
        "tracefile",
        "frameworks",
        "result",
        "decide",
        "record",
        "replay",
        "ledger",
        "identify",
        "policies",
        "rules",
    },
    "report": {"result"},
    "api": {"analysis", "record", "report", "result", "tracefile"},
    "cli": {"api", "analysis", "report", "policies", "decide", "record", "replay", "tracefile", "result"},
    "__init__": {"api", "record", "result", "tracefile"},
    "__main__": {"cli"},
}
"""What the modules of each room may import of this package, counted over all imports: at the top of a module, inside
functions, and for types."""

LIFTS = {
    ("result.diagnosis", "report"),  # Diagnosis.to_html, .to_json, .save, .steps, …
    ("result.calls", "report"),  # Call.__str__
    ("record.afterwards", "analysis"),  # Tracer.diagnose
    ("record.watch", "analysis"),  # Watch.diagnose
    ("tracefile.reader", "identify"),  # Trace.identify
}
"""The methods of public classes that reach up, which they may inside a function and for types only."""


@dataclass(frozen=True)
class Import:
    """One module of this package importing another; `lazy`: inside a function, or for types only."""

    source: str
    target: str
    lazy: bool

    @property
    def rooms(self) -> tuple[str, str]:
        return self.source.split(".")[0], self.target.split(".")[0]

    @property
    def is_lift(self) -> bool:
        return self.lazy and (self.source, self.rooms[1]) in LIFTS


def module_names() -> dict[str, Path]:
    """Every module below `diagnose` by its dotted name, packages by their own."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "_scenarios" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports() -> list[Import]:
    """All imports between modules of this package."""
    modules = module_names()
    found = set()
    for source, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = set(tree.body)
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: relative imports hide where they point"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                first, _, rest = name.partition(".")
                if first != "diagnose":
                    continue
                while rest and rest not in modules:
                    rest = rest.rpartition(".")[0]
                target = rest or "__init__"
                if target != source:
                    found.add(Import(source, target, node not in top))
    return sorted(found, key=lambda each: (each.source, each.target, each.lazy))


def circles(arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The sets of names that reach one another, each of more than one name."""
    graph: dict[str, set[str]] = {}
    for a, b in arrows:
        graph.setdefault(a, set()).add(b)
    reach: dict[str, set[str]] = {}
    for name in graph:
        seen, left = set(), [name]
        while left:
            for other in graph.get(left.pop(), set()) - seen:
                seen.add(other)
                left.append(other)
        reach[name] = seen
    found = {
        tuple(sorted({name, *(b for b in reach[name] if name in reach.get(b, set()))}))
        for name in graph
        if name in reach[name]
    }
    return sorted(map(list, found))


def test_every_room_has_its_row() -> None:
    assert {name.split(".")[0] for name in module_names()} == set(ROOMS)


def test_imports_only_go_down() -> None:
    wrong = [
        f"{each.source} -> {each.target}"
        for each in imports()
        if each.rooms[0] != each.rooms[1]
        and not each.is_lift
        and each.rooms[1] not in (ROOMS[each.rooms[0]] | (SHARED if each.rooms[0] != "frameworks" else set()))
    ]
    assert wrong == []


def test_the_table_itself_has_no_circle() -> None:
    assert circles((room, other) for room, below in ROOMS.items() for other in below) == []


def test_no_circle_of_modules() -> None:
    assert circles((each.source, each.target) for each in imports() if not each.is_lift) == []


def test_replay_knows_frameworks_by_their_engines_only() -> None:
    engines = {name.split(".")[1] for name in module_names() if name.startswith("replay.") and name.count(".") > 1}
    named = {
        each.source
        for each in imports()
        if each.rooms[0] in ("replay", "ledger")
        and each.source.split(".")[1:2] != ["keras"]
        and (each.rooms[1] == "frameworks" or each.target.split(".")[:2] == ["replay", "keras"])
    }
    assert engines == {"keras"}
    assert named == {"replay.engines"}, "only there is an engine chosen"


def test_no_exemption_is_idle() -> None:
    used = {(each.source, each.rooms[1]) for each in imports() if each.is_lift}
    assert used == LIFTS


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
        "import diagnose.analysis.analyze, diagnose.record.attach, diagnose.rules, diagnose.decide.verdict",
    ],
)
def test_what_is_not_used_is_not_loaded(code: str) -> None:
    assert loaded_by(code) == set()


def test_only_record_and_replay_import_a_framework_and_its_insides_only_frameworks() -> None:
    """What else is private of Keras, `tests/frameworks/test_relied_on.py` looks for."""
    wrong = []
    for source, path in module_names().items():
        room = source.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in named:
                framework = name.split(".")[0] in ("keras", "tensorflow", "jax", "torch")
                inside = name.startswith(("keras.src", "tensorflow.python", "jax._src"))
                if framework and room not in (("frameworks",) if inside else ("frameworks", "record", "replay")):
                    wrong.append(f"{source} -> {name}")
    assert wrong == []


def test_modules_stay_small() -> None:
    sizes = {p.relative_to(ROOT): len(p.read_text(encoding="utf-8").splitlines()) for p in PACKAGE.rglob("*.py")}
    assert {str(p): n for p, n in sizes.items() if n > 400} == {}
