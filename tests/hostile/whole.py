"""A small trace with all that a recorder writes of a fit with an early stop, checkpoints and an average of the weights.
Written without Keras; analysed, reported and identified like a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from diagnose.tracefile.digest import group_digest, row_digests
from diagnose.tracefile.model import BatchRef, Leaf, Signature
from diagnose.tracefile.rows import pack_rows
from diagnose.tracefile.writer import TraceWriter

EPOCHS, STEPS, BATCH = 4, 3, 8
LOSSES = (1.0856356620788574, 0.9441116452217102, 0.77052241563797, 0.7154029011726379)
ARRAYS = {"dense/kernel": (4, 3), "dense/bias": (3,), "norm/gamma": (3,), "norm/mean": (3,), "seed": (2,)}
GROUPS = ("trainable", "trainable", "trainable", "non_trainable", "seed")
SLOTS = {"iterations": (), "learning_rate": (), "average": (4, 3), "slot": (4, 3)}


def _callback(name: str, **settings: Any) -> dict[str, Any]:
    settings = {"monitor": "loss", "mode": "auto", "best": LOSSES[-1], "monitor_op": "less", "verbose": 0, **settings}
    return {
        "class": name, "module": f"keras.src.callbacks.{name.lower()}", "bases": ["MonitorCallback"], "builtin": True,
        "settings": settings, "hooks": ["on_train_begin", "on_epoch_end", "on_train_end"], "reads": {},
        "thresholds": [],
    }  # fmt: skip


CALLBACKS = [
    _callback("ModelCheckpoint", min_delta=0, filepath="best-{epoch}-{loss:.2f}.keras", save_best_only=True,
              save_weights_only=False, save_freq="epoch"),
    _callback("ReduceLROnPlateau", min_delta=10.0, factor=0.1, min_lr=0.0, patience=0, cooldown=0, cooldown_counter=0,
              wait=0),
    _callback("EarlyStopping", min_delta=0, patience=1, baseline=0.5, wait=0, stopped_epoch=0, start_from_epoch=0,
              restore_best_weights=True, best_epoch=3),
    {"class": "Stop", "module": "train", "bases": [], "builtin": False, "settings": {"at": 0.9}, "hooks":
     ["on_epoch_end", "on_train_batch_end"], "reads": {"on_epoch_end": ["accuracy"], "on_train_batch_end": ["loss"]},
     "thresholds": [{"key": "accuracy", "op": ">", "value": 0.9, "hook": "on_epoch_end", "code": "logs['accuracy']"}]},
]  # fmt: skip


def header() -> dict[str, Any]:
    """The rows of `info`."""
    average = {"iterations": 12, "learning_rate": 0.05, "slots": 2, "same": True}
    metric = {"function": "keras.src.losses.losses.binary_crossentropy", "same_as": None, "dtype": "float32"}
    return {
        "policy": {"every_update": True, "parameters": 21, "nbytes": 2**30, "level": 3, "overhead": 0.02, "least": 2,
                   "because": "batch-hooks"},
        "environment": {"diagnose": "0.1.0", "python": "3.11.7", "keras": "3.15.1", "numpy": "2.4.6"},
        "backend": "tensorflow",
        "fit": {"number": 1, "found": True, "arguments": {
            "batch_size": BATCH, "epochs": 9, "verbose": 0, "validation_split": 0.0, "shuffle": True,
            "initial_epoch": 0, "steps_per_epoch": None, "validation_freq": 1, "class_weight": False,
            "sample_weight": False, "validation_data": True, "data": "ArrayDataAdapter", "steps": STEPS,
            "batches": STEPS, "validation_is_training": False, "validation_rows": BATCH}},
        "compile": {
            "loss": "binary_crossentropy", "run_eagerly": False, "jit_compile": False, "steps_per_execution": 1,
            "optimizer": {"class": "Adam", "config": {"name": "adam", "learning_rate": 0.05, "use_ema": True,
                          "ema_momentum": 0.99, "ema_overwrite_frequency": None}},
            "custom_train_step": False, "custom_test_step": False},
        "callbacks": CALLBACKS,
        "variables": [
            {"path": path, "dtype": "float32", "shape": list(shape), "group": group, "saved_as": f"layers/{path}"}
            for (path, shape), group in zip(ARRAYS.items(), GROUPS, strict=True)],
        "model": {
            "name": "sequential", "class": "Sequential", "parameters": 21, "masking": [], "own_training": False,
            "outputs": [{"name": "dense", "shape": [None, 1]}], "architecture": None,
            "layers": [
                {"name": "dense", "class": "Dense", "kind": None, "trainable": True, "weights": [0, 1],
                 "statistics": []},
                {"name": "dropout", "class": "Dropout", "kind": "dropout", "trainable": False, "weights": [],
                 "statistics": []},
                {"name": "norm", "class": "BatchNormalization", "kind": "batch-norm", "trainable": True,
                 "weights": [2], "statistics": [3], "momentum": 0.99},
                {"name": "scale", "class": "Normalization", "kind": None, "trainable": True, "weights": [],
                 "statistics": [], "normalization": "adapt", "stateful": True}]},
        "callbacks_at_start": [
            {"class": cb["class"], "settings": {**cb["settings"], "best": None}, "best_weights": None,
             "used_before": False} for cb in CALLBACKS],
        "batch_axis": "fixed", "validation_batch_axis": "fixed",
        "start": {"iterations": 12, "learning_rate": 0.05, "slots": 2, "updates": [0], "previous": {
            "trace": "before.diag", "epoch": 2, "version": 6, "last_epoch": 3, "logs": {"loss": 2.0},
            "next_logs": {"loss": 1.9}, "then": average, "end": average, "same_optimizer": True,
            "same_settings": True}},
        "metric_variables": [
            {"metric": name, "log": name, "of_loss": name == "loss", **metric, "name": part, "shape": []}
            for name in ("loss", "accuracy") for part in ("total", "count")],
        "metrics": [{"name": "accuracy", "output": 0, "weighted": False, "class": "BinaryAccuracy", "builtin": True,
                     "function": "binary_accuracy", "direction": "max", "settings": {"threshold": 0.5}}],
        "optimizer_variables": [
            {"path": f"adam/{role}", "dtype": "float32", "shape": list(shape), "role": role,
             **({"of": 0} if role == "average" else {})} for role, shape in SLOTS.items()],
    }  # fmt: skip


def write(path: Path) -> None:
    """Writes the trace."""
    with TraceWriter(path) as writer:
        for key, value in header().items():
            writer.info(key, value)
        signature = writer.signature(
            Signature({"x": {"leaf": 0}, "y": {"leaf": 1}}, (Leaf("float32", (4,)), Leaf("float32", ())))
        )
        rows = [np.arange(96, dtype=np.float32).reshape(24, 4) / 96, np.arange(24, dtype=np.float32) % 2]
        packed = pack_rows(rows)
        writer.rows(signature, row_digests(packed), packed)
        batches = [BatchRef(signature, np.arange(i * BATCH, (i + 1) * BATCH)) for i in range(STEPS)]
        state = _state(writer, 0, "version")
        for epoch in range(1, EPOCHS + 1):
            for place in range(STEPS):
                step = (epoch - 1) * STEPS + place
                count = np.float32([place, 8 * place, place, 8 * place]).tobytes()
                after = np.float32([place + 1, 8 * place + 8, place + 1, 8 * place + 8]).tobytes()
                writer.step(step=step, epoch=epoch, batch_index=place,
                            batch=batches[place], metrics_before=count, metrics_after=after, generator=None,
                            seconds=0.25)  # fmt: skip
                state = _state(writer, step + 1, "version")
            passes = writer.batches(batches[:1])
            logs = {"accuracy": 0.5 + epoch / 100, "loss": LOSSES[epoch - 1]}
            writer.evaluation(epoch=epoch, after_step=epoch * STEPS, state=state, batches=passes, logs=logs)
            end = _state(writer, epoch * STEPS, "epoch-end")
            logs |= {f"val_{name}": value for name, value in logs.items()} | {"learning_rate": 0.05}
            writer.epoch(epoch=epoch, first_version=(epoch - 1) * STEPS, last_version=epoch * STEPS, logs=logs,
                         state=end, learning_rate=0.05 / epoch, seconds=1.5)  # fmt: skip
            where: dict[str, Any] = {"epoch": epoch, "step": epoch * STEPS}
            saved = {"callback": "ModelCheckpoint", "place": 0, "hook": "on_epoch_end", "version": epoch * STEPS}
            writer.event("file-saved", {**saved, "path": f"best-{epoch}.keras", "bytes": 31707}, **where)
            rate = {"callback": "ReduceLROnPlateau", "hook": "on_epoch_end", "before": 0.5, "after": 0.05}
            writer.event("learning-rate", rate, **where)
            writer.commit()
        writer.event("stop-requested", {"callback": "EarlyStopping", "hook": "on_epoch_end"}, **where)
        changed = _state(writer, EPOCHS * STEPS, "changed", number=9)
        for who in (None, "EarlyStopping"):
            detail = {"callback": who, "hook": "on_train_end", "before": end, "after": changed, "groups": ["trainable"]}
            writer.event("weights-changed", detail, **where)
        for kind in ("optimizer-changed", "metrics-reset"):
            writer.event(kind, {"callback": "Stop", "hook": "on_epoch_end"}, epoch=2, step=6)
        writer.event("train-end", {"state": _state(writer, None, "final", number=9)})
        writer.event("callbacks-final", {"callbacks": CALLBACKS})
        writer.event("limit", {"what": "rows seen for the first time", "reason": "the trace is full"})
        writer.seal("complete")


def weights(number: int) -> list[np.ndarray[Any, Any]]:
    """The model's variables after `number` updates."""
    return [np.full(shape, number / 7 + i, np.float32) for i, shape in enumerate(ARRAYS.values())]


def weights_file(path: Path, number: int = 6) -> None:
    """A `.npz` with the weights of one version."""
    np.savez(path, **{name.replace("/", "."): a for name, a in zip(list(ARRAYS)[:4], weights(number), strict=False)})  # type: ignore[arg-type]


def _state(writer: TraceWriter, version: int | None, label: str, number: int | None = None) -> int:
    arrays = [writer.array(a) for a in weights(number if number is not None else version or 0)]
    slots = None
    if label in ("epoch-end", "final"):
        slots = [writer.array(np.full(shape, version or 0, np.float32)) for shape in SLOTS.values()]
    groups = [[d for d, g in zip(arrays, GROUPS, strict=True) if g == group] for group in
              ("trainable", "non_trainable", "seed")]  # fmt: skip
    return writer.state(
        version=version, label=label, trainable=group_digest(groups[0]), non_trainable=group_digest(groups[1]),
        seeds=group_digest(groups[2]), optimizer=None if slots is None else group_digest(slots), arrays=arrays,
        optimizer_arrays=slots, kept=True,
    )  # fmt: skip
