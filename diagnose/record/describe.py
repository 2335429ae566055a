"""Describes a fit in JSON: model, variables, compile settings, fit arguments, callbacks, library versions. Reads
only."""

from __future__ import annotations

import json
import math
import platform
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from diagnose.frameworks.keras import layers as keras_layers
from diagnose.frameworks.keras.fits import adapter, batches, iterator_of_fit, steps
from diagnose.frameworks.keras.model_state import carried_variables, state_variables
from diagnose.frameworks.keras.optimizers import rate, variables_of
from diagnose.frameworks.keras.origin import by_keras, step_by_keras
from diagnose.frameworks.keras.saving import saved_places, without_importing_tensorflow
from diagnose.record import describe_data
from diagnose.record.callback_code import reads, thresholds
from diagnose.record.handlers import let_through
from diagnose.record.previous import roles
from diagnose.tracefile.model import Json
from diagnose.version import __version__

LIBRARIES = ("keras", "tensorflow", "jax", "jaxlib", "torch", "numpy")

FIT_ARGUMENTS = (
    "batch_size", "epochs", "verbose", "validation_split", "shuffle", "initial_epoch", "steps_per_epoch",
    "validation_steps", "validation_batch_size", "validation_freq",
)  # fmt: skip

WRAPPING = ("SpectralNormalization", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
"""Layers of Keras that hand `training` on to what they wrap, or change it themselves."""

HOOKS = (
    "on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_test_begin", "on_test_end",
    "on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end",
)  # fmt: skip


def environment() -> dict[str, str]:
    """Versions of Python, the platform and the libraries that are installed and loaded."""
    found = {"diagnose": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in LIBRARIES:
        if name in sys.modules:
            found[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
    return found


P = ParamSpec("P")
T = TypeVar("T")


_FILTERS = threading.RLock()


def _without_warnings(function: Callable[P, T]) -> Callable[P, T]:
    """For what makes Keras read its own configuration: warnings it sets off there are not the user's."""

    @wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> T:
        # One thread at a time: each puts back the filters it found, and must not find another's.
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return quiet


def plain(value: Any, depth: int = 4) -> Json:
    """`value` as JSON; what has no JSON form becomes its class name or a short text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.generic, np.ndarray)) and getattr(value, "ndim", 0) == 0:
        return value.item()
    if depth and isinstance(value, np.ndarray) and value.size <= 200:
        return value.tolist()
    if depth and isinstance(value, Mapping):
        return {str(k): plain(v, depth - 1) for k, v in list(value.items())[:200]}
    if depth and isinstance(value, (list, tuple)):
        return [plain(v, depth - 1) for v in value[:200]]
    try:
        return float(value)
    except Exception as error:
        let_through(error)
        # Until 3.12, Keras on TensorFlow leaves metrics of several values in the logs as eager tensors.
        if depth and isinstance(array := _numpy(value), np.ndarray):
            return plain(array, depth - 1)
        name = getattr(value, "name", None) or getattr(value, "__name__", None)
        return f"{type(value).__name__}({name})" if isinstance(name, str) else type(value).__name__


def _numpy(value: Any) -> Any:
    """What an eager tensor holds, or None."""
    try:
        return value.numpy()
    except Exception as error:
        let_through(error)
        return None


def plain_logs(logs: Mapping[str, Any]) -> dict[str, Json]:
    """Logs with their numbers as Python floats."""
    return {str(name): plain(value) for name, value in logs.items()}


def learning_rate(model: Any, *, schedule: bool = False) -> float | None:
    """The optimizer's current rate. A schedule costs backend operations, so it is computed only where asked for."""
    optimizer = model.optimizer
    if optimizer is None:
        return None
    held = rate(optimizer)
    if not schedule and hasattr(held, "get_config") and callable(held):
        return None
    try:
        now = optimizer.learning_rate
        return float(getattr(now, "value", now))  # through NumPy, Keras's variables set off warnings
    except Exception as error:
        let_through(error)
        return None


def variables(model: Any, copies: Sequence[tuple[int, int]] = ()) -> list[dict[str, Json]]:
    """One entry per model variable: path, dtype, shape, group ("trainable", "non_trainable", "seed", or "carried" for
    the states of stateful layers, which come last). Then one for each of `copies` (index of the variable, replica),
    group "replica": what another replica holds of a variable. `saved_as`: the path under which Keras puts it in a
    weights file, None where it does not or that is not known."""
    trainable = {id(v) for v in model.trainable_variables}
    weights = {id(v) for v in model.weights}
    carried = {id(v) for v in carried_variables(model)}

    def group(v: Any) -> str:
        if id(v) in trainable:
            return "trainable"
        if id(v) in carried:
            return "carried"
        return "non_trainable" if id(v) in weights else "seed"

    places = _saved_places(model)
    found = [
        {
            "path": v.path,
            "dtype": str(v.dtype),
            "shape": list(v.shape),
            "group": group(v),
            "saved_as": places.get(id(v)),
        }
        for v in state_variables(model)
    ]
    return found + [{**found[of], "group": "replica", "of": of, "replica": replica} for of, replica in copies]


def _saved_places(model: Any) -> dict[int, str]:
    try:
        return saved_places(model)
    except Exception as error:
        let_through(error)
        return {}  # a layer of an unusual kind; a file's arrays are then told by content and shape


def optimizer_variables(model: Any) -> list[dict[str, Json]]:
    """One entry per variable of the optimizers, in their order: path, dtype, shape, and what it is
    (`previous.roles`)."""
    return [
        {"path": v.path, "dtype": str(v.dtype), "shape": list(v.shape), **role}
        for v, role in zip(variables_of(model), roles(model), strict=True)
    ]


def model(model: Any) -> dict[str, Json]:
    """Name, parameters, and all layers: those that behave differently in training marked with their kind, and which
    variables are whose."""
    layers = keras_layers.layers_of(model)
    places = {id(v): i for i, v in enumerate(model.variables)}
    # Spectral normalization divides this weight in its forward pass, trainable or not.
    divided = {id(getattr(x, "kernel", None)) for x in layers if type(x).__name__ == "SpectralNormalization"}
    return {
        "name": model.name,
        "class": type(model).__name__,
        "parameters": sum(math.prod(v.shape) for v in model.weights),
        "layers": [_layer(x, places, divided) for x in layers],
        "masking": [x.name for x in layers if keras_layers.makes_mask(x)],
        "own_training": keras_layers.takes_training(model) and not step_by_keras(model, "call"),
        "outputs": describe_data.outputs(model),
        "architecture": _architecture(model),
    }


def _layer(layer: Any, places: Mapping[int, int], divided: Collection[int]) -> dict[str, Json]:
    """One layer: `weights` and `statistics` are indices of its own variables in `variables`, those made to be trained
    and the others. Values are not read: on JAX the variables hold none while a fit runs."""
    made, others = ([v for v in own if id(v) in places] for own in keras_layers.own_variables(layer))
    found: dict[str, Json] = {
        "name": layer.name,
        "class": type(layer).__name__,
        "kind": layer_kind(layer),
        "trainable": bool(layer.trainable),
        "weights": [places[id(v)] for v in made if id(v) not in divided],
        "statistics": [places[id(v)] for v in (*others, *(v for v in made if id(v) in divided))],
    }
    if found["kind"] == "batch-norm":
        found["momentum"] = plain(layer.momentum)
    if getattr(layer, "stateful", False) is True:
        found["stateful"] = True
    if _is_normalization(layer):
        found["normalization"] = "adapt" if layer.input_mean is None else "given"
    return found


def _is_normalization(layer: Any) -> bool:
    from keras import layers

    return isinstance(layer, layers.Normalization)


def layer_kind(layer: Any) -> str | None:
    """Which ledger factor a layer belongs to, None if it behaves the same in training and inference.

    Layers of Keras are known by class; any other layer whose `call` takes `training` may differ, and is "other-
    training-mode".
    """
    from keras import layers

    noise = (layers.Dropout, layers.GaussianNoise, layers.GaussianDropout, layers.AlphaDropout)
    if isinstance(layer, (*noise, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D)):
        return "dropout"
    if isinstance(layer, layers.BatchNormalization):
        return "batch-norm"
    differs = keras_layers.takes_training(layer)
    if by_keras(type(layer)):
        if _is_augmentation(type(layer)):
            return "augmentation" if differs else None
        if getattr(layer, "dropout", 0) and isinstance(layer.dropout, float):
            return "dropout"
        if getattr(layer, "recurrent_dropout", 0):
            return "dropout"
        return "other-training-mode" if type(layer).__name__ in WRAPPING else None
    if any(issubclass(c, layers.Layer) and _is_augmentation(c) for c in type(layer).__mro__):
        return "augmentation" if differs else None
    return "other-training-mode" if differs else None


def _is_augmentation(kind: type) -> bool:
    return (
        by_keras(kind)
        and "preprocessing" in kind.__module__
        and kind.__name__ not in ("Normalization", "Resizing", "Rescaling", "CenterCrop")
    )


@_without_warnings
def _architecture(model: Any) -> Json:
    """The serialized model and compile settings, for `report --stored-model`; None where the model cannot be
    serialized."""
    try:
        with without_importing_tensorflow():
            config = json.loads(model.to_json())
            compiled = model.get_compile_config()
        return {"model": config, "compile": json.loads(json.dumps(compiled)) if compiled else None}
    except Exception as error:
        let_through(error)
        return None


@_without_warnings
def compile_settings(model: Any) -> dict[str, Json]:
    """Loss, metrics, optimizer with its configuration, and how steps are run."""
    optimizer = model.optimizer
    config: Json = None
    try:
        config = plain(optimizer.get_config()) if optimizer is not None else None
    except Exception as error:
        let_through(error)
        config = None
    loss = getattr(model, "loss", None)
    return {
        "loss": plain(loss) if isinstance(loss, (str, list, tuple, dict)) else _name(loss),
        "optimizer": None if optimizer is None else {"class": type(optimizer).__name__, "config": config},
        "run_eagerly": bool(model.run_eagerly),
        "jit_compile": bool(model.jit_compile),
        "steps_per_execution": int(getattr(model, "steps_per_execution", 1)),
        "custom_train_step": not step_by_keras(model, "train_step"),
        "custom_test_step": not step_by_keras(model, "test_step"),
    }


def _name(value: Any) -> str | None:
    return None if value is None else getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__)


def fit_arguments(locals_of_fit: Mapping[str, Any]) -> dict[str, Json]:
    """The scalar arguments of `fit`, whether weights were given, and what kind of data it got."""
    found = {name: plain(locals_of_fit.get(name)) for name in FIT_ARGUMENTS if name in locals_of_fit}
    found["class_weight"] = locals_of_fit.get("class_weight") is not None
    found["sample_weight"] = locals_of_fit.get("sample_weight") is not None
    found["validation_data"] = locals_of_fit.get("validation_data") is not None
    iterator = iterator_of_fit(locals_of_fit)
    found |= {"data": adapter(iterator), "steps": plain(steps(iterator)), "batches": plain(batches(iterator))}
    found.update(describe_data.validation(locals_of_fit))
    return found


def settings(cb: Any) -> dict[str, Json]:
    """A callback's public attributes with a plain value, as they are now."""
    found: dict[str, Json] = {}
    for name, value in list(vars(cb).items()):
        if name.startswith("_") or name in ("model", "params", "best_weights", "history"):
            continue
        if name == "monitor_op":
            found[name] = getattr(value, "__name__", None)
        elif value is None or isinstance(value, (bool, int, float, str)):
            found[name] = value
        elif isinstance(value, (np.generic, np.ndarray)) or hasattr(value, "__float__"):
            found[name] = plain(value)
    return found


def callback(cb: Any) -> dict[str, Json]:
    """Class, settings (public attributes with a plain value), overridden hooks, the keys its code reads from logs, and
    the thresholds it compares them with."""
    import keras

    base = keras.callbacks.Callback
    builtin = by_keras(type(cb))
    of_keras = builtin and type(cb).__name__ != "LambdaCallback"
    return {
        "class": type(cb).__name__,
        "module": type(cb).__module__,
        "bases": [c.__name__ for c in type(cb).__mro__[1:] if c not in (object, base)],
        "builtin": builtin,
        "settings": settings(cb),
        # LambdaCallback sets its hooks on the instance.
        "hooks": [h for h in HOOKS if getattr(type(cb), h, None) is not getattr(base, h, None) or h in vars(cb)],
        "reads": {} if of_keras else reads(cb),
        "thresholds": [] if of_keras else thresholds(cb),
    }
