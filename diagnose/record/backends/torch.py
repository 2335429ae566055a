"""torch: the train function gets the batch itself; layers draw from torch's global generators, so their state is
recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from diagnose.frameworks.keras.torch_tools import value_of
from diagnose.frameworks.torch_generators import generator_state
from diagnose.record.array_source import ArraySource
from diagnose.record.backends import torch_arrays
from diagnose.record.backends.base import Distribution, Live, Source, StepHook, Variables
from diagnose.record.packs import Pack, places_by_group
from diagnose.tracefile.composite import Composite, Sparse
from diagnose.tracefile.model import NDArray


class TorchBackend:
    """Relies on `TorchTrainer` (keras/src/backend/torch/trainer.py): `fit` calls `self.train_function(data)` by
    attribute, with `data` a list of one batch."""

    name = "torch"
    copies_arrays = False

    def wrap_train(self, model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
        return _wrap(original, hook)

    def wrap_test(self, model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
        return _wrap(original, hook)

    def tap(self, epoch_iterator: Any, wanted: Callable[[], bool]) -> Source | None:
        return None

    def tap_arrays(self, epoch_iterator: Any) -> ArraySource | None:
        return torch_arrays.tap(epoch_iterator)

    def live(self, model: Any, variables: Variables, state: Any = None) -> Live:
        return Live(
            variables=[v.value for v in variables.all],
            optimizer=lambda: [v.value for v in variables.optimizer],
            metrics=[v.value for v in variables.metrics],
        )

    def pack(self, model: Any, variables: Variables, state: Any = None) -> Pack | None:
        packer = variables.prepared.get("pack")
        if packer is None or not packer.holds():
            packer = variables.prepared["pack"] = _Packer([*variables.all, *variables.metrics])
        held = [self.view(torch.cat(group)) for group in packer.groups]
        return Pack(held, _as_it_is, packer.places)

    def before_run(self, variables: Sequence[Any]) -> list[NDArray] | None:
        return None  # this trainer builds the model before its first step

    def distribution(self, model: Any) -> Distribution | None:
        return None

    def adds_in_order(self, model: Any) -> bool:
        devices = {v.value.device.type for v in model.variables}
        return devices <= {"cpu"} or torch.are_deterministic_algorithms_enabled()

    def copies(self, variables: Variables) -> Sequence[tuple[int, int]]:
        return ()

    def shares(self, data: Any) -> tuple[int, ...] | None:
        return None

    def view(self, value: Any) -> NDArray:
        tensor = value.detach() if isinstance(value, torch.Tensor) else torch.as_tensor(value)
        if tensor.device.type != "cpu":
            tensor = tensor.cpu()
        if tensor.dtype == torch.bfloat16:
            import ml_dtypes

            return np.asarray(tensor.contiguous().view(torch.uint16).numpy()).view(ml_dtypes.bfloat16)
        return np.asarray(tensor.numpy())

    def composite(self, value: Any) -> Composite | None:
        if isinstance(value, torch.Tensor) and value.layout == torch.sparse_coo:
            whole = value.coalesce()
            indices = np.ascontiguousarray(whole.indices().cpu().numpy().T)
            return Sparse(indices, np.array(whole.values().cpu().numpy()), np.array(whole.shape, np.int64))
        return None

    def generator_state(self) -> NDArray | None:
        return generator_state()


class _Packer:
    """The variables' tensors, flat, by dtype and device: views, which see what is written into the variables."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = variables
        self._tensors = [value_of(v) for v in variables]
        self._addresses = [tensor.data_ptr() for tensor in self._tensors]
        keys = [(tensor.dtype, tensor.device) for tensor in self._tensors]
        groups: dict[Any, list[torch.Tensor]] = {}
        for key, tensor in zip(keys, self._tensors, strict=True):
            groups.setdefault(key, []).append(tensor.detach().reshape(-1))
        self.groups = list(groups.values())
        self.places = places_by_group(keys, [tuple(tensor.shape) for tensor in self._tensors])

    def holds(self) -> bool:
        """Whether the variables still hold these tensors, and these the same memory: the views keep that from being
        given to others."""
        for variable, tensor, address in zip(self._variables, self._tensors, self._addresses, strict=True):
            if value_of(variable) is not tensor or tensor.data_ptr() != address:
                return False
        return True


def _as_it_is(array: NDArray) -> NDArray:
    return array


def _wrap(original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
    def traced(data: Any) -> Any:
        if not hook.armed():
            return original(data)
        hook.before(data[0], None)
        outputs = original(data)
        hook.after(None)
        return outputs

    return traced


BACKEND = TorchBackend()
