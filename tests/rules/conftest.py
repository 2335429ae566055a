"""Tests marked `recorded` run without their fits: see `recorded.py`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from tests.rules import recorded


@pytest.fixture(autouse=True)
def _recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("recorded") is None or recorded.MODE == "live":
        yield
        return
    test, name = request.path, request.node.name
    now, path = recorded.digest(test, request.function.__name__), recorded.archive(test)
    with pytest.MonkeyPatch.context() as patch:
        if recorded.MODE == "make":
            seen = recorded.Seen(now)
            with recorded.noted(seen, patch, test.stem.removeprefix("test_").replace("_", "-")):
                yield
            recorded.MADE.setdefault(path, {})[name] = seen
        elif (kept := recorded.stored(path).get(name)) is not None and kept.digest == now:
            with recorded.played(kept, patch):
                yield
        else:
            warnings.warn(f"{test.name} has changed; to keep its fits: python tools/rule_facts.py", stacklevel=1)
            yield


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None or nextitem.path != item.path:
        for path, found in recorded.MADE.items():
            recorded.store(path, found)
        recorded.MADE.clear()
