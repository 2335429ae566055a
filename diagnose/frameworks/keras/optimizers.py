"""Optimizers: which of their variables is what (`keras/src/optimizers/base_optimizer.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from diagnose.frameworks.keras.layers import held_by
from diagnose.frameworks.keras.trainers import keeps_jax_state


def parts(optimizer: Any) -> Iterator[Any]:
    """An optimizer and those it wraps (`LossScaleOptimizer`, `MultiOptimizer`)."""
    if optimizer is not None:
        yield optimizer
        for inner in (getattr(optimizer, "inner_optimizer", None), *(getattr(optimizer, "optimizers", None) or [])):
            yield from parts(inner)


def rate(optimizer: Any) -> Any:
    """Where an optimizer has its learning rate: a variable, a schedule or a function."""
    return optimizer._learning_rate


def counter(optimizer: Any) -> Any:
    """The variable that counts updates."""
    return optimizer._iterations


def averages(optimizer: Any) -> Iterator[tuple[Any, Any]]:
    """(variable, its moving average) with `use_ema`, once the optimizer is built."""
    # Set where the optimizer is built with `use_ema`, and nowhere else.
    kept = getattr(optimizer, "_model_variables_moving_average", None) or []
    for variable, average in zip(optimizer._trainable_variables, kept, strict=False):
        if average is not None:
            yield variable, average


def updated_by(optimizer: Any) -> list[Any]:
    """The variables that a built optimizer updates."""
    return list(optimizer._trainable_variables)


def updated_in(model: Any) -> list[int] | None:
    """The places in `model.variables` of those that the compiled optimizer was built for; it refuses to update others.
    None where it is not built yet, or wraps what is not known."""
    built = [part for part in parts(model.optimizer) if part.built]
    if not built or not all(hasattr(part, "_trainable_variables") for part in built):
        return None
    ids = {id(v) for part in built for v in updated_by(part)}
    return [i for i, v in enumerate(model.variables) if id(v) in ids]


def own_optimizers(model: Any) -> list[Any]:
    """Optimizers in the attributes of the model and its layers, which its own step may use beside the compiled one."""
    import keras

    compiled = {id(each) for each in parts(model.optimizer)}
    held = [o for o in held_by(model) if isinstance(o, keras.optimizers.Optimizer)]
    inner = {id(each) for o in held for each in list(parts(o))[1:]}
    return list({id(o): o for o in held if id(o) not in compiled | inner}.values())


def optimizers_of(model: Any) -> list[Any]:
    """Those whose variables a step may change: the model's own, and the compiled one last. On JAX a step carries the
    variables of the compiled one alone."""
    own = [] if keeps_jax_state(model) else own_optimizers(model)
    return [*own, *([] if model.optimizer is None else [model.optimizer])]


def variables_of(model: Any) -> list[Any]:
    """The variables of these optimizers, each once."""
    return list({id(v): v for optimizer in optimizers_of(model) for v in optimizer.variables}.values())


def with_apply(optimizer: Any, before: Callable[[], None]) -> Callable[[], None]:
    """Has `before` called in front of each `apply` of this optimizer, by which every update goes. Returns what takes it
    out again."""
    apply = optimizer.apply

    def looked_at(*arguments: Any, **named: Any) -> Any:
        before()
        return apply(*arguments, **named)

    # Not by setattr: Keras and TensorFlow keep track of what is set on an optimizer.
    object.__setattr__(optimizer, "apply", looked_at)

    def take_out() -> None:
        if vars(optimizer).get("apply") is looked_at:
            object.__delattr__(optimizer, "apply")

    return take_out
