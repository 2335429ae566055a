"""What a step is given, as the backend's values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnose.replay.keras.backends import ReplayBackend
from diagnose.replay.runs import weights_as_given
from diagnose.tracefile.composite import Ragged, Sparse, Strings
from diagnose.tracefile.model import Json, NDArray


@dataclass(frozen=True, slots=True)
class Values:
    """Makes a backend's values. `carried`: the places of variables that a pass hands to the next one."""

    backend: ReplayBackend
    carried: tuple[int, ...]

    def tree(self, tree: Any) -> Any:
        """A tree of arrays as backend values."""
        if tree is None:
            return None
        if isinstance(tree, Mapping):
            return {k: self.tree(v) for k, v in tree.items()}
        if isinstance(tree, (list, tuple)):
            return type(tree)(self.tree(v) for v in tree)
        if isinstance(tree, (Ragged, Sparse, Strings)):
            return self.backend.composite(tree)
        return self.backend.tensor(tree)

    def weights(self, weight: NDArray | None, tree: Json) -> Any:
        """Sample weights as the model takes them."""
        return self.tree(weights_as_given(weight, tree))

    def with_left(self, values: Sequence[Any], left: Sequence[Any] | None) -> list[Any]:
        """The values with those of the carried variables replaced."""
        found = list(values)
        for place, value in zip(self.carried, left or (), strict=left is not None):
            found[place] = value
        return found
