"""`--version`."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from diagnose.cli import main


def test_the_version_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"diagnose {version('keras-diagnose')}\n"
