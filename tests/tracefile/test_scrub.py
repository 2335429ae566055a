"""What tells of a person or a machine is taken out of a trace's JSON; what a diagnosis needs stays."""

from __future__ import annotations

import pytest

from diagnose.tracefile.scrub import Scrubber

SECRETS = ("alice", "secret", "vault")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/alice/secret/run.py", "folder-1/run.py"),
        ("~/secret/run.py", "folder-1/run.py"),
        ("~alice/run.py", "folder-1/run.py"),
        ("/home/alice", "folder-1"),
        (r"C:\Users\alice\run.py", "folder-1/run.py"),
        (r"\\vault\alice\run.py", "folder-1/run.py"),
        ("gs://vault/alice/w.keras", "folder-1/w.keras"),
        ("file:///home/alice/w.keras", "folder-1/w.keras"),
        ("No such file: '/home/alice/my secret/w.keras'.", "No such file: 'folder-1/w.keras'."),
        ("see (/home/alice/a.txt), or /home/alice/b.txt:3", "see (folder-1/a.txt), or folder-1/b.txt:3"),
        ('load_weights("/home/alice/{epoch}.keras")', 'load_weights("folder-1/{epoch}.keras")'),
    ],
)
def test_absolute_paths_among_other_words(text: str, expected: str) -> None:
    assert Scrubber().text([text]) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "dense/kernel", "layers/dense/vars/0", "val_loss", "12/20 steps, 3 ms/step", "n/a", "a / b", "",
        "https://github.com/keras-team/keras/issues/20323", "pkg>Layer", "float32", "1 - 2",
    ],
)  # fmt: skip
def test_what_is_no_path_stays(text: str) -> None:
    assert Scrubber().text({"a": text}) == {"a": text}


def test_settings_have_relative_paths_too_but_for_names_in_the_logs() -> None:
    settings = {
        "filepath": "secret/{val_loss:.2f}/{epoch}.keras", "log_dir": "secret/logs", "monitor": "alice/loss",
        "watched": "out/acc", "verbose": 1,
    }  # fmt: skip
    assert Scrubber({"out/acc"}).settings([{"class": "C", "settings": settings}]) == [
        {
            "class": "C",
            "settings": {
                "filepath": "folder-1{val_loss:.2f}/{epoch}.keras", "log_dir": "folder-2", "monitor": "alice/loss",
                "watched": "out/acc", "verbose": 1,
            },
        }
    ]  # fmt: skip


def test_the_same_folder_has_the_same_name_and_is_known_again_in_prose() -> None:
    scrubber = Scrubber()
    assert scrubber.event("file-saved", {"path": "secret/a.keras", "bytes": 3}) == {
        "path": "folder-1/a.keras",
        "bytes": 3,
    }
    assert scrubber.event("file-saved", {"path": "secret/a.keras.bak"})["path"] == "folder-1/a.keras.bak"
    found = scrubber.diagnosis(
        {
            "trace": {"path": "secret/fit-1.diag", "bytes": 9},
            "environment": {"keras": "3.15.1", "platform": "Linux-alice"},
            "title": "What secret/a.keras.bak holds, and secret/a.keras",
        },
        "a.redacted.diag",
    )
    assert found == {
        "trace": {"path": "a.redacted.diag", "bytes": 9},
        "environment": {"keras": "3.15.1"},
        "title": "What folder-1/a.keras.bak holds, and folder-1/a.keras",
    }


def test_a_traceback_goes_and_the_error_stays() -> None:
    detail = {
        "error": "OSError: [Errno 28] No space left: '/home/alice/a.diag'",
        "traceback": 'File "/home/alice/x.py"',
    }
    assert Scrubber().event("tracer-error", detail) == {
        "error": "OSError: [Errno 28] No space left: 'folder-1/a.diag'",
        "traceback": "",
    }


@pytest.mark.parametrize(
    "config",
    [
        {"vocabulary": ["alice", "secret"]},
        {"vocabulary": "/home/alice/words.txt"},
        {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAA"}}},
        {"path": "/home/alice/x"},
    ],
)
def test_an_architecture_that_holds_words_code_or_paths_is_left_out(config: object) -> None:
    model = {"name": "m", "architecture": {"model": {"layers": [{"config": config}]}}}
    assert Scrubber().info("model", model) == {"name": "m", "architecture": None}


def test_any_other_architecture_stays() -> None:
    model = {"name": "m", "architecture": {"model": {"layers": [{"config": {"vocabulary": None, "mean": [1.0]}}]}}}
    assert Scrubber().info("model", model) == model
