"""Takes paths, and what else tells of a person or a machine, out of the JSON of a trace. Knows no file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from diagnose.tracefile.model import Json

_START = r"(?:~[\w.-]*|[A-Za-z]:|\b(?!https?:)[a-z][a-z0-9+.-]*:)?[/\\]{1,3}"
"""How an absolute path begins, also of a drive, a home folder or a store (gs://, file://); not a page on the web."""

_QUOTED: Final = re.compile(rf"(?P<quote>[\"'`])(?P<path>{_START}(?!\s)[^\"'`\n]+)(?P=quote)")
_BARE: Final = re.compile(rf"(?<![\w/\\.:~<-])(?P<path>{_START}[^\s\"'`<>|,;:)\]}}/\\][^\s\"'`<>|,;:)\]]*)")
_VERSION: Final = re.compile(r"\d[\w.+-]*")
_UNBUILT: Final = ("vocabulary", "idf_weights")
"""Settings of layers that hold what was read from the training data as it is."""


class Scrubber:
    """Replaces the folders of paths: `/home/me/runs/best.keras` becomes `folder-1/best.keras`, the same folder the same
    name each time. Names of files stay.

    Args:
        names: texts that are none, whatever they look like: names in the logs may have slashes.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = frozenset(names)
        self._folders: dict[str, str] = {}
        self._known: dict[str, str] = {}
        self._longest: list[tuple[str, str]] = []

    def info(self, key: str, value: Json) -> Json:
        """The value of an `info` row."""
        if key == "environment" and isinstance(value, dict):
            return versions(value)
        if key == "policy" and isinstance(value, dict):
            return {**value, "rows": "digests"}
        if key == "model" and isinstance(value, dict):
            architecture = value.get("architecture")
            if self.text(architecture) != architecture or _learned(architecture):
                # A model built from another description would be another model.
                value = {**value, "architecture": None}
        return self.settings(value) if key in ("callbacks", "callbacks_at_start") else self.text(value)

    def event(self, kind: str, detail: Mapping[str, Json]) -> dict[str, Json]:
        """The detail of an event."""
        found = dict(detail)
        if "traceback" in found:
            found["traceback"] = ""
        cleaned = self.text(found) if kind == "tracer-error" else self.settings(found)
        assert isinstance(cleaned, dict)
        return cleaned

    def diagnosis(self, value: Json, path: str) -> Json:
        """A stored diagnosis; `path`: what stands for that of its trace."""
        if not isinstance(value, dict):
            return value
        found = dict(value)
        if "environment" in found:
            found["environment"] = versions(found["environment"])
        if isinstance(found.get("trace"), dict):
            found["trace"] = {**found["trace"], "path": path}
        return self.text(found)

    def settings(self, value: Any) -> Any:
        """JSON in which a text with a slash is a path, be it a relative one."""
        if isinstance(value, str) and value not in self._names and re.search(r"[/\\]", value):
            return self._path(value) if "\n" not in value else self.text(value)
        if isinstance(value, dict):
            return {key: self.text(item) if key == "monitor" else self.settings(item) for key, item in value.items()}
        return self._inside(value, self.settings)

    def text(self, value: Any) -> Any:
        """JSON whose texts may have absolute paths, or those met before, among other words."""
        if not isinstance(value, str):
            return self._inside(value, self.text)
        if len(self._longest) != len(self._known):
            # Longer ones first, so that no path is taken for the beginning of another.
            self._longest = sorted(self._known.items(), key=lambda item: -len(item[0]))
        for known, replaced in self._longest:
            if known in value:
                value = value.replace(known, replaced)
        value = _QUOTED.sub(lambda m: f"{m['quote']}{self._path(m['path'])}{m['quote']}", value)
        return _BARE.sub(lambda m: self._path(m["path"]), value)

    @staticmethod
    def _inside(value: Any, clean: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, list) else value

    def _path(self, path: str) -> str:
        if path in self._known:
            return self._known[path]
        folder, _, name = re.sub(r"\\", "/", path).rpartition("/")
        if "." not in name[1:]:
            folder, name = path, ""  # a folder itself, whose name may be a person's
        number = self._folders.setdefault(folder, f"folder-{len(self._folders) + 1}")
        # A rule reads the fields of a file's name, wherever in the path they stand.
        fields = "".join(re.findall(r"\{[^{}/]*\}", folder))
        found = "/".join(part for part in (number + fields, name) if part)
        self._known[path] = found
        return found


def versions(environment: Json) -> dict[str, Json]:
    """Of an environment only what is a version: the rest is about a machine."""
    found = environment if isinstance(environment, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, str) and _VERSION.fullmatch(value)}


def _learned(config: Any) -> bool:
    """Whether a model's description holds words of the training data, or code (which names the file it is from)."""
    if isinstance(config, dict):
        if config.get("class_name") in ("__lambda__", "Lambda"):
            return True
        return any((key in _UNBUILT and value) or _learned(value) for key, value in config.items())
    return isinstance(config, list) and any(map(_learned, config))
