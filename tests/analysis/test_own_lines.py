"""What a script's lines do with predictions: held against what NumPy makes of the same lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnose.analysis.own_lines import own_lines

N = 12
RNG = np.random.default_rng(0)
COLUMN, LABELS = RNG.random((N, 1)), RNG.integers(0, 2, N)
SEEN: list[Any] = []
GIVEN = "\nmodel.fit(x, y)\n"
"""What makes a name that of labels."""


class Model:
    def fit(self, x: Any, y: Any) -> None:
        pass

    def predict(self, x: Any, **_: Any) -> Any:
        return COLUMN


class Seen(np.ndarray):
    """Labels that note with what shape a comparison or difference comes out."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        found = getattr(ufunc, method)(*(np.asarray(i) for i in inputs), **kwargs)
        SEEN.append((ufunc.__name__, np.shape(found)))
        return found


PAIRED = [
    "p = model.predict(x)\nprint(np.mean((p > 0.5) == y))",
    "p = model.predict(x, verbose=0)\nq = (p > 0.5).astype(int)\nacc = (q == y).mean()",
    "print(((model.predict(x) - y) ** 2).mean())",
    "p = np.round(model.predict(x))\nwrong = p != y\nprint(wrong.mean())",
    "def f():\n    p = model.predict(x)\n    d = p - y[:12]\n    return np.abs(d).mean()\nf()",
]
NOT_PAIRED = [
    "p = model.predict(x).ravel()\nprint(np.mean((p > 0.5) == y))",
    "p = model.predict(x)\nprint(((p[:, 0] > 0.5) == y).mean())",
    "p = model.predict(x).flatten()\nprint(np.abs(p - y).mean())",
    "p = model.predict(x)\np = np.squeeze(p)\nprint((np.round(p) == y).mean())",
    "y = y.reshape(-1, 1)\np = model.predict(x)\nprint(((p > 0.5) == y).mean())",
    "p = model.predict(x)\nprint(p.shape, p[:3])",
]


@pytest.mark.parametrize("code", [*PAIRED, *NOT_PAIRED])
def test_all_pairs_are_said_where_numpy_makes_them(code: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(code + GIVEN, "utf-8")
    SEEN.clear()
    exec(compile(code + GIVEN, str(file), "exec"), {"model": Model(), "x": None, "y": LABELS.view(Seen), "np": np})
    paired = any(shape == (N, N) for name, shape in SEEN if name in ("equal", "not_equal", "subtract"))
    assert paired == (code in PAIRED), "what the test takes for pairs"
    line = next(i for i, text in enumerate(code.splitlines(), 1) if "predict(" in text)
    found = own_lines(str(file), line, "predict")
    assert found is not None and any(each.does == "pairs" for each in found) == paired


@pytest.mark.parametrize(
    ("code", "does"),
    [
        ("p = model.predict(x)\nprint(np.argmax(p, axis=1))", {"first"}),
        ("print((model.predict(x).argmax(axis=1) == y).mean())", {"first", "every-step", "in-order"}),
        ("p = model.predict(x)\nprint(log_loss(y, p))", {"log-loss"}),
        ("p = model.predict(x)\nprint(-np.log(p[np.arange(len(y)), y]).mean())", {"log-loss"}),
        (
            "p = model.predict(x)\nright = p.argmax(-1) == y\nprint(right[mask].mean())",
            {"first", "some-steps", "in-order"},
        ),
        ("p = model.predict(x)\nprint((p.argmax(-1) == y)[mask].mean())", {"first", "some-steps", "in-order"}),
        ("p = model.predict(x)\nprint(roc_auc_score(y, p))", set()),
        ("p = model.predict(x)\nprint(confusion_matrix(y, p > 0.5))", {"every-step", "in-order"}),
        ("p = model.predict(x).argmax(-1)\nprint(accuracy_score(y[:12], p))", {"first", "every-step"}),
        ("p = model.predict(x).argmax(-1)\nprint(accuracy_score(y[order], p))", {"first", "some-steps"}),
        ("p = model.predict(x).argmax(-1)\nprint(accuracy_score(y.ravel(), p.ravel()))", {"first", "every-step"}),
        ("p = model.predict(x).argmax(-1)\nprint(accuracy_score(y[mask], p[mask]))", {"first", "some-steps"}),
    ],
)
def test_other_ways_of_scoring(code: str, does: set[str], tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(code + GIVEN, "utf-8")
    found = own_lines(str(file), 1, "predict")
    assert found is not None and {each.does for each in found} == does


@pytest.mark.parametrize(
    "line",
    [
        "print((p - threshold).mean())",
        "print((p == 1).mean(), (p > 0.5).mean() == share)",
        "print(-(p * np.log(p)).sum())",
    ],
)
def test_what_is_not_given_as_labels_is_none(line: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(f"p = model.predict(x)\n{line}{GIVEN}", "utf-8")
    assert own_lines(str(file), 1, "predict") == ()


@pytest.mark.parametrize(
    "given",
    [
        "model.evaluate(x, y)",
        "model.fit(a, b, validation_data=(x, y))",
        "tf.data.Dataset.from_tensor_slices((x, y)).batch(2)",
        "model.fit(x, z)\ny = z",
        "def f(x, y):\n    p = model.predict(x)\nmodel.fit(x, z)\nf(x, z)",
    ],
)
def test_ways_to_give_labels(given: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(f"p = model.predict(x)\nprint(((p > 0.5) == y).mean())\n{given}\n", "utf-8")
    found = own_lines(str(file), 1, "predict")
    # To fit, and by that very name: `evaluate` may have others, and `f` has names of its own.
    in_order = set() if given.startswith(("model.evaluate", "def f")) else {"in-order"}
    assert found is not None and {each.does for each in found} == {"pairs", "every-step", *in_order}


AS_GIVEN = [
    "model.fit(x, y)\nx = x[order]\n@",
    "x, y = shuffle(x, y)\nmodel.fit(x, y)\n@",
    "def train(x, y):\n    model.fit(x, y)\ntrain(a, y)\nx = a[order]\n@",
    "def score(x, y):\n    @\nmodel.fit(x, y)\nscore(x, y)",
    "def main():\n    x, y = load()\n    model.fit(x, y)\n    @\nmain()\ny = 1",
]
NOT_AS_GIVEN = [
    "model.fit(x, y)\nx, y = shuffle(x, y)\n@",
    "model.fit(x, y)\nnp.random.shuffle(y)\n@",
    "model.fit(x, y)\ny[:] = y[order]\n@",
    "for x, y in folds:\n    model.fit(x, y)\n@",
    "def train(x, y):\n    model.fit(x, y)\ntrain(x, y)\nx, y = shuffle(x, y)\n@",
    "def score(x, y):\n    @\nmodel.fit(x, y)\nscore(x, y)\nscore(a, b)",
    "def score(x, y):\n    x, y = shuffle(x, y)\n    @\nmodel.fit(x, y)\nscore(x, y)",
    "model.fit(x, y)\nmodel.evaluate(a, b)\ny = b\n@",
    "model.fit(x, y)\nx, y = shuffle(x, y)\n@\nmodel.fit(x, y)",
]


@pytest.mark.parametrize("code", [*AS_GIVEN, *NOT_AS_GIVEN])
def test_labels_are_in_fits_order_only_where_their_name_stands_for_nothing_else(code: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(code.replace("@", "print((model.predict(x)[:, 0].round() == y).mean())"), "utf-8")
    line = next(i for i, text in enumerate(file.read_text("utf-8").splitlines(), 1) if "predict(" in text)
    found = own_lines(str(file), line, "predict")
    assert found is not None and any(each.does == "in-order" for each in found) == (code in AS_GIVEN)


@pytest.mark.parametrize("made", ["b = to_categorical(y)", "a, c, b, d = train_test_split(x, y)", "b = np.array(y)"])
def test_what_the_labels_were_made_from_scores_too_but_has_not_their_shape(made: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(f"p = model.predict(x)\nprint(log_loss(y, p), p - y)\n{made}\nmodel.fit(a, b)\n", "utf-8")
    found = own_lines(str(file), 1, "predict")
    assert found is not None and {each.does for each in found} == {"log-loss"}


@pytest.mark.parametrize(
    "code",
    [
        "p = model.predict(x)\nscore(p, y)",
        "p = model.predict(x)\nprint(accuracy_score(other, p.ravel()))",
        "p = model.predict(x",
        "a, b = model.predict(x), model.predict(y)",
    ],
)
def test_what_is_not_seen_is_not_told(code: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(code, "utf-8")
    assert own_lines(str(file), 1, "predict") is None
    assert own_lines(str(tmp_path / "none.py"), 1, "predict") is None
