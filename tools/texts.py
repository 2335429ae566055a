"""All texts of the package, for whoever adds a language.

    python tools/texts.py               # {id: English template} as JSON
    python tools/texts.py FILE.json     # what such a file lacks, has too much of, or asks for and is not given

See docs/texts.md.
"""

from __future__ import annotations

import importlib
import json
import string
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from diagnose.result.texts import english, options, read_texts  # noqa: E402


def everything() -> dict[str, str]:
    """id → English template, with all modules loaded that have texts."""
    for path in sorted((ROOT / "diagnose").rglob("*.py")):
        if "Text(" in path.read_text("utf-8"):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    return english()


def fields(template: str) -> set[str]:
    """The parameters a template names, those inside of forms included."""
    found: set[str] = set()
    for _, name, form, _ in string.Formatter().parse(template):
        if name is not None:
            found.add(name)
            for option in options(form or ""):
                found |= fields(option)
    return found


def wrong(path: Path) -> list[str]:
    """What is wrong with a language's file, a line each."""
    there, known = read_texts(path).templates, everything()
    said = [f"lacks {name}" for name in known if name not in there]
    said += [f"{name} is no text of ours" for name in there if name not in known]
    for name in set(there) & set(known):
        more = fields(there[name]) - fields(known[name])
        said += [f"{name} has no {{{field}}}" for field in sorted(more)]
    return said


def main(arguments: list[str]) -> int:
    if not arguments:
        print(json.dumps(everything(), ensure_ascii=False, indent=1))
        return 0
    lines = wrong(Path(arguments[0]))
    print("\n".join(lines) or "complete")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
