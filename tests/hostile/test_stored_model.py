"""Architectures that would have Keras run code, open files or work for ever: none is handed to Keras. The published
ways are named; each release of Keras stopped some, so that what Keras itself would do depends on the one installed."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import marshal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from diagnose.errors import DiagnoseError
from diagnose.frameworks.keras import stored_names
from diagnose.record import describe
from diagnose.replay.keras.stored_model import build

Stored = dict[str, Any]
OLD = tuple(int(part) for part in keras.__version__.split(".")[:2]) < (3, 9)


@pytest.fixture(scope="module")
def ordinary() -> Stored:
    """What a trace of an ordinary functional model holds."""
    x = keras.Input((4,), name="x")
    y = keras.layers.Dense(1, activation="relu", name="dense")(keras.layers.Dense(2, name="first")(x))
    model = keras.Model(x, y)
    model.compile(keras.optimizers.SGD(0.1), loss="mse", metrics=[keras.metrics.MeanSquaredError()])
    found: Stored = json.loads(json.dumps(describe.model(model)["architecture"]))
    return found


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ran"


def layers(stored: Stored) -> list[Any]:
    found: list[Any] = stored["model"]["config"]["layers"]
    return found


def dense(stored: Stored) -> dict[str, Any]:
    found: dict[str, Any] = layers(stored)[-1]["config"]
    return found


def function(name: str, module: str = "builtins", registered: str = "function") -> Stored:
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered}


def layer(name: str, module: str = "keras.layers", **config: Any) -> Stored:
    settings = {"name": "evil", "trainable": True, "dtype": "float32", **config}
    return {"module": module, "class_name": name, "config": settings, "registered_name": None}


def called(node: Stored, *args: Any, **kwargs: Any) -> Callable[[Stored], None]:
    """Puts a layer into the model that is called with these arguments as soon as it is made."""

    def change(stored: Stored) -> None:
        layers(stored).append({**node, "name": "evil", "inbound_nodes": [{"args": list(args), "kwargs": kwargs}]})

    return change


def made(node: Stored) -> Callable[[Stored], None]:
    return lambda stored: layers(stored).append({**node, "name": "evil", "inbound_nodes": []})


def setting(key: str, value: Any) -> Callable[[Stored], None]:
    return lambda stored: dense(stored).update({key: value})


def compiled(**settings: Any) -> Callable[[Stored], None]:
    return lambda stored: stored["compile"].update(settings)


def inside(wrapper: str, key: str, value: Any) -> Callable[[Stored], None]:
    return made(layer(wrapper, **{key: value}))


WRITE = "open('ran', 'w').close()"
CODE = base64.b64encode(marshal.dumps(compile(WRITE, "f", "exec"))).decode()
LAMBDA = {"class_name": "__lambda__", "config": {"value": [CODE, None, None]}}
TOKENS = layer("StringLookup", vocabulary="ran", output_mode="int")
SAVED_MODEL = layer("TFSMLayer", filepath="ran", call_endpoint="serve")
SEQUENTIAL = {"module": "keras", "class_name": "Sequential", "registered_name": None}
MEAN = {"module": "keras.metrics", "class_name": "MeanMetricWrapper", "registered_name": None}

ESCAPES: dict[str, Callable[[Stored], None]] = {
    # CVE-2025-1550: any function of any module, called with the file's arguments
    "exec as a layer": called(function("exec"), WRITE),
    "eval as a layer": called(function("eval"), WRITE),
    "open as a layer": called(function("open"), "ran", "w"),
    "os.system as a layer": called(function("system", "os"), "touch ran"),
    "subprocess.run as a layer": called(function("run", "subprocess", "run"), ["touch", "ran"]),
    "exec under its registered name": called(function("no such", registered="exec"), WRITE),
    "Popen as a layer": made({"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "ran"]}}),
    # CVE-2025-8747, -12060: Keras's own functions that download, unpack, read and write
    "get_file": called(function("get_file", "keras.utils"), "ran", "http://127.0.0.1:9/ran", extract=True),
    "get_file of the package inside": called(function("get_file", "keras.src.utils.file_utils"), "ran", "file:///x"),
    "save_img": called(function("save_img", "keras.utils"), "ran", [[0]]),
    "load_model": called(function("load_model", "keras.saving"), "ran"),
    "model_from_json": called(function("model_from_json", "keras.models"), "{}"),
    "get_symbol_from_name": called(function("get_symbol_from_name", "keras.src.api_export"), "keras.Model"),
    # CVE-2025-9906: switches the guard off first, then a lambda
    "enable_unsafe_deserialization": called(function("enable_unsafe_deserialization", "keras.config")),
    "set_global_attribute": called(
        function("set_global_attribute", "keras.src.backend.common.global_state"), "safe_mode_saving", False
    ),
    # CVE-2024-3660, CVE-2025-9905, CVE-2026-12480, -12481: Python bytecode, by the newer and the older ways
    "Lambda": made(layer("Lambda", function=LAMBDA)),
    "Lambda of the older form": made(layer("Lambda", function=[CODE, None, None], function_type="lambda")),
    "Lambda with a function of Keras": called(
        layer("Lambda", function=function("load_model", "keras.models"), arguments={"safe_mode": False}), inputs="ran"
    ),
    "Lambda of the package inside": made(layer("Lambda", "keras.src.layers.core.lambda_layer", function=LAMBDA)),
    "Lambda without a module": made({"class_name": "Lambda", "config": {"name": "evil", "function": LAMBDA}}),
    "lambda as a layer": called(LAMBDA),
    "lambda as an activation": setting("activation", LAMBDA),
    "lambda as an initializer": setting("kernel_initializer", LAMBDA),
    "lambda as a loss": compiled(loss=LAMBDA),
    # CVE-2025-12058: files read, or fetched, as a vocabulary
    "StringLookup": made(TOKENS),
    "StringLookup from a URL": made(layer("StringLookup", vocabulary="http://127.0.0.1:9/ran")),
    "IntegerLookup": made(layer("IntegerLookup", vocabulary="ran")),
    "TextVectorization": made(layer("TextVectorization", vocabulary="ran")),
    "text as weights of tokens": made(layer("TextVectorization", vocabulary=["a"], idf_weights="ran")),
    "vocabulary in an object": made(
        layer("StringLookup", vocabulary={"class_name": "__bytes__", "config": {"value": "ran"}})
    ),
    "StringLookup in a model in a wrapper": inside(
        "TimeDistributed", "layer", {**SEQUENTIAL, "config": {"name": "s", "layers": [TOKENS]}}
    ),
    # CVE-2025-49655, CVE-2026-1462, and others of that kind: layers that carry or load code
    "TorchModuleWrapper": made(layer("TorchModuleWrapper", module=CODE)),
    "TFSMLayer": made(SAVED_MODEL),
    "TFSMLayer in a wrapper": inside("TimeDistributed", "layer", SAVED_MODEL),
    "TFSMLayer as a cell": inside("RNN", "cell", SAVED_MODEL),
    "TFSMLayer in both directions": inside("Bidirectional", "backward_layer", SAVED_MODEL),
    "TFSMLayer as an activation": setting("activation", SAVED_MODEL),
    "JaxLayer": made(layer("JaxLayer", call_fn=function("exec"))),
    "FlaxLayer": made(layer("FlaxLayer", module=CODE)),
    # keras-team/keras issue 22779: a custom object under the cover of a built-in one
    "another registered name": made({**layer("Dense", units=1), "registered_name": "evil>Dense"}),
    "another function's registered name": setting("activation", function("relu", registered="evil>relu")),
    # functions where functions may stand, but none of these
    "exec as an activation": setting("activation", function("exec")),
    "get_file as an activation": setting("activation", function("get_file", "keras.utils")),
    "Keras's deserialize as an activation": setting("activation", function("deserialize", "keras.activations")),
    "Keras's get as a loss": compiled(loss=function("get")),
    "exec as a loss": compiled(loss=function("exec")),
    "exec as a loss of one output": compiled(loss={"y": [function("exec")]}),
    "exec as a metric": compiled(metrics=["mse", [function("exec")]]),
    "exec in a metric": compiled(weighted_metrics=[{**MEAN, "config": {"name": "m", "fn": function("exec")}}]),
    "system in a metric": compiled(metrics=[{**MEAN, "config": {"name": "m", "fn": function("system", "os")}}]),
    "exec in an initializer": setting("kernel_initializer", function("exec")),
    "exec as a regularizer": setting("kernel_regularizer", function("exec")),
    "exec as a constraint": setting("bias_constraint", function("exec")),
    "exec as a learning rate": lambda stored: stored["compile"]["optimizer"]["config"].update(
        learning_rate=function("exec")
    ),
    "relu where no function may stand": setting("units", function("relu")),
    "relu as a layer": called(function("relu"), 1),
    "mean_squared_error as an activation": setting("activation", function("mean_squared_error")),
    # callables in other arguments
    "standardize": made(layer("TextVectorization", standardize=function("exec"))),
    "split": made(layer("TextVectorization", split=function("get_file", "keras.utils"))),
    "scale": made(layer("Rescaling", scale=function("exec"))),
    "mask_value": made(layer("Masking", mask_value=function("exec"))),
    "value of a constant": setting(
        "kernel_initializer",
        {"module": "keras.initializers", "class_name": "Constant", "config": {"value": function("exec")}},
    ),
    "seed": setting(
        "kernel_initializer",
        {"module": "keras.initializers", "class_name": "RandomNormal", "config": {"seed": function("exec")}},
    ),
    "policy map": setting(
        "dtype",
        {
            "module": "keras.dtype_policies",
            "class_name": "DTypePolicyMap",
            "config": {"policy_map": {"a": function("exec")}},
        },
    ),
    "quantization config": setting("quantization_config", layer("GPTQConfig", "keras.quantizers", dataset="ran")),
    "inner optimizer": compiled(
        optimizer={
            "module": "keras.optimizers",
            "class_name": "LossScaleOptimizer",
            "config": {"inner_optimizer": function("exec")},
        }
    ),
    "argument of a call": lambda stored: layers(stored)[-1]["inbound_nodes"][0]["kwargs"].update(f=function("exec")),
    "operation that calls a function": called(layer("Map", "keras.src.ops.core"), function("exec"), [WRITE]),
    "vectorized operation": called(layer("VectorizedMap", "keras.src.ops.core", function=function("exec")), [WRITE]),
    # objects in places that Keras may or may not look at
    "build config": lambda stored: layers(stored)[-1].update(build_config={"input_shape": function("exec")}),
    "compile config of a model inside": made(
        {
            **SEQUENTIAL,
            "config": {"name": "s", "layers": [layer("Dense", units=1)]},
            "compile_config": {"optimizer": "sgd", "loss": function("exec")},
        }
    ),
    "unknown compile setting": compiled(callbacks=[function("exec")]),
    "unknown key of an object": lambda stored: layers(stored)[-1].update(spec_name="exec"),
    "type specification": setting(
        "units",
        {"class_name": "__typespec__", "module": "os", "spec_name": "system", "registered_name": None, "config": []},
    ),
    "array of a type that takes memory": setting(
        "units", {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S1000000000"}}
    ),
    # classes in other modules, or of other kinds
    "class of another package": made({"module": "evil", "class_name": "Dense", "config": {"units": 1}}),
    "class of a module of Keras": made(layer("CustomObjectScope", "keras.utils")),
    "module of Keras as a class": made(layer("np", "keras.src.ops.numpy")),
    "function of operations": made(layer("einsum", "keras.src.ops.numpy")),
    "base class": made(layer("Wrapper", layer=SAVED_MODEL)),
    "feature space": made(layer("FeatureSpace", "keras.utils", features={})),
    "optimizer as a layer": made(layer("SGD", "keras.optimizers")),
    "layer as an optimizer": compiled(optimizer=layer("Dense", units=1)),
    "model of another class": lambda stored: stored["model"].update({"module": "evil", "class_name": "Model"}),
    "function as the model": lambda stored: stored.update(model=function("exec")),
    # not as Keras writes it
    "class without a name": made({"module": "keras.layers", "class_name": ["Dense"], "config": {}}),
    "settings that are text": made({"module": "keras.layers", "class_name": "Dense", "config": "ran"}),
    "settings that are an object": made({"module": "keras.layers", "class_name": "Dense", "config": function("exec")}),
    "function without a name": setting("activation", {**function("relu"), "config": ["relu"]}),
    "calls of the older form": lambda stored: layers(stored)[-1].update(
        inbound_nodes=[[["x", 0, 0, {"f": function("exec")}]]]
    ),
    "calls that are text": lambda stored: layers(stored)[-1].update(inbound_nodes="x"),
    "layers that are none": lambda stored: layers(stored).append(None),
    "a layer that is an array": made({"class_name": "__numpy__", "config": {"value": [1], "dtype": "float32"}}),
    "calls that are a number": lambda stored: layers(stored)[0].update(inbound_nodes=1),
    "no model": lambda stored: stored.update(model={"layers": []}),
    "a list as compile settings": lambda stored: stored.update(compile=["sgd"]),
}


def refused(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> str:
    """One line, said before anything was handed to Keras."""

    def handed(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was handed to Keras")

    monkeypatch.setattr(keras.models, "model_from_json", handed)
    with pytest.raises(DiagnoseError, match=r"^The stored architecture .*; use --model MODULE:FUNCTION\.$") as caught:
        build(stored)
    return str(caught.value)


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_of_it_reaches_keras(name: str, ordinary: Stored, marker: Path, monkeypatch: Any) -> None:
    stored = copy.deepcopy(ordinary)
    ESCAPES[name](stored)
    assert stored != ordinary
    refused(json.loads(json.dumps(stored)), monkeypatch)
    assert not marker.exists()


def test_the_ordinary_one_is_built(ordinary: Stored) -> None:
    """What the escapes are made of is not itself refused."""
    assert build(ordinary).count_params() == 13


@pytest.mark.skipif(not OLD, reason="later releases of Keras stop this one themselves")
@pytest.mark.parametrize("name", ["exec as a layer", "open as a layer", "os.system as a layer"])
def test_an_escape_is_one(name: str, ordinary: Stored, marker: Path) -> None:
    """Handed to Keras unchecked it runs: the marker can tell."""
    stored = copy.deepcopy(ordinary)
    ESCAPES[name](stored)
    with contextlib.suppress(Exception):  # what comes of a layer that is none
        keras.models.model_from_json(json.dumps(stored["model"]))
    assert marker.exists()


def test_every_layer_of_keras_was_looked_at() -> None:
    """A layer that a new release adds belongs into one list or the other, after a look at what it runs and opens."""
    listed = stored_names.LAYERS | stored_names.REFUSED_LAYERS
    names: dict[type, set[str]] = {}  # one layer may be exported under several
    for name, kind in vars(keras.layers).items():
        if isinstance(kind, type) and issubclass(kind, keras.layers.Layer):
            names.setdefault(kind, set()).add(name)
    assert [found for found in names.values() if len(found & listed) != 1] == []
    assert not stored_names.LAYERS & stored_names.REFUSED_LAYERS


@pytest.mark.parametrize("place", stored_names.FUNCTIONS)
def test_functions_are_those_that_keras_exports(place: str) -> None:
    for module, names in stored_names.FUNCTIONS[place].items():
        functions = vars(getattr(keras, module.removeprefix("keras.")))
        exported = {name for name, value in functions.items() if type(value).__name__ == "function"}
        assert exported - {"get", "serialize", "deserialize"} <= names
        assert not names & {"get", "serialize", "deserialize"}


def test_text_of_the_file_cannot_repaint_a_terminal(ordinary: Stored, monkeypatch: Any) -> None:
    stored = copy.deepcopy(ordinary)
    layers(stored).append(layer("\x1b[2J\n" + "x" * 10_000, "evil"))
    said = refused(stored, monkeypatch)
    assert said.isprintable() and len(said) < 500


def test_what_keras_says_of_a_model_that_it_cannot_build_is_one_line(ordinary: Stored) -> None:
    stored = copy.deepcopy(ordinary)
    dense(stored)["units"] = "many\n\x1b[2J"
    with pytest.raises(DiagnoseError, match="cannot be built") as caught:
        build(stored)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


# ── what would take for ever ──


def tensor(name: str, call: int = 0) -> Stored:
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 4], "dtype": "float32", "keras_history": [name, call, 0]},
    }


def node(name: str, *inputs: Stored) -> Stored:
    """A layer that is called once for each input."""
    calls = [{"args": [x], "kwargs": {}} for x in inputs]
    return {**layer("Dense", units=4), "name": name, "inbound_nodes": calls} | {"config": {"name": name, "units": 4}}


def many(stored: Stored) -> None:
    layers(stored)[2:] = [node(f"l{i}", tensor(f"l{i - 1}" if i else "first")) for i in range(20_000)]


def many_in_a_row(stored: Stored) -> None:
    config = {"name": "s", "layers": [layer("Dense", units=1) for _ in range(1000)]}
    stored["model"] = {**SEQUENTIAL, "config": config}


def called_often(stored: Stored) -> None:
    layers(stored)[-1]["inbound_nodes"] *= 20_000


def nested(stored: Stored) -> None:
    """Each model calls the one inside twice: 2**40 calls out of 40 models."""
    for level in range(40):
        inner = {**copy.deepcopy(stored["model"]), "name": f"m{level}"}
        inner["inbound_nodes"] = [{"args": [tensor("x")], "kwargs": {}}] * 2
        both = [layers(stored)[0], inner]
        config = {"name": f"outer{level}", "layers": both, "input_layers": [], "output_layers": []}
        stored["model"] = {**stored["model"], "config": config}


def in_a_circle(stored: Stored) -> None:
    layers(stored)[1:] = [node("first", tensor("dense")), node("dense", tensor("first"))]


def later_call(stored: Stored) -> None:
    layers(stored)[-1]["inbound_nodes"] = [{"args": [tensor("first", 7)], "kwargs": {}}]


def backwards(stored: Stored) -> None:
    made = [node(f"l{i}", tensor(f"l{i - 1}" if i else "x")) for i in range(4_000)]
    layers(stored)[1:] = made[::-1]


def deep(stored: Stored) -> None:
    for _ in range(20_000):
        stored["model"] = {**SEQUENTIAL, "config": {"name": "s", "layers": [stored["model"]]}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (many, "calls 20003 layers"),
        (many_in_a_row, "makes or calls 41001 layers"),
        (called_often, "makes or calls 20003 layers"),
        (nested, "far too many"),
        (in_a_circle, "wait for each other"),
        (later_call, "wait for each other"),
        (backwards, "an order that takes too long"),
        (deep, "nested too deeply"),
    ],
)
def test_work_without_end_is_refused_at_once(change: Any, said: str, ordinary: Stored, monkeypatch: Any) -> None:
    stored = copy.deepcopy(ordinary)
    change(stored)
    start = time.process_time()
    assert said in refused(stored, monkeypatch)
    assert time.process_time() - start < 5
