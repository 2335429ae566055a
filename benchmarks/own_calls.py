"""What noting a script's own `evaluate` and `predict` costs: the same call noted and not, in turns, in one process.
Prints ratios of CPU time (all threads); asserts nothing.

    python benchmarks/own_calls.py [--repeats 7] [--backend tensorflow|jax|torch]

The limit on what noting may take (a second, and a tenth of the calls' own time) is lifted: a script never pays more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.overhead import small_cnn, tiny_mlp


def small_rnn() -> tuple[Any, np.ndarray, np.ndarray, int]:
    """About 80 thousand parameters, batches of 64 sequences of 40 words."""
    import keras

    rng = np.random.default_rng(0)
    x = rng.integers(0, 2000, size=(3200, 40)).astype("int32")
    y = (x[:, 0] > 1000).astype("float32")
    layers = [keras.layers.Embedding(2000, 32), keras.layers.LSTM(32), keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential([keras.Input((40,), dtype="int32"), *layers])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model, x, y, 64


MODELS: dict[str, Callable[[], tuple[Any, np.ndarray, np.ndarray, int]]] = {
    "tiny MLP": tiny_mlp,
    "small CNN": small_cnn,
    "small RNN": small_rnn,
}


def in_batches(x: Any, y: Any, size: int) -> Any:
    """Batches that are asked for by number."""
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return -(-len(x) // size)

        def __getitem__(self, index: int) -> Any:
            at = slice(index * size, (index + 1) * size)
            return x[at], y[at]

    return Batches()


def measure(name: str, repeats: int) -> list[str]:
    import keras

    import diagnose
    from diagnose.record import calls

    model, x, y, batch = MODELS[name]()
    lines = []
    with diagnose.trace() as session:
        model.fit(x[: 4 * batch], y[: 4 * batch], batch_size=batch, verbose=0)
        ways = {
            "evaluate": ("evaluate", (x, y)),
            "predict": ("predict", (x,)),
            "evaluate, by batches": ("evaluate", (in_batches(x, y, batch),)),
        }
        for shown, (kind, arguments) in ways.items():
            noted = getattr(keras.Model, kind)
            plain = noted.__wrapped__

            def spent(call: Any, arguments: Any = arguments) -> float:
                calls._SPENT.noting = 0.0
                start = time.process_time()
                call(model, *arguments, verbose=0)
                return time.process_time() - start

            spent(plain), spent(noted)
            with_notes, without = [], []
            for i in range(repeats):
                for call in (noted, plain) if i % 2 else (plain, noted):
                    (with_notes if call is noted else without).append(spent(call))
            ratios = [a / b for a, b in zip(with_notes, without, strict=True)]
            low, _, high = statistics.quantiles(ratios, n=4)
            own = statistics.median(without)
            lines.append(
                f"| {name} | {shown} of {len(x):,} rows | {own * 1e3:.0f} ms | "
                f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}) |"
            )
        assert session.runs[0].calls.error is None
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--backend")
    options = parser.parse_args()
    if options.backend:
        os.environ["KERAS_BACKEND"] = options.backend
    import keras

    print(f"Keras {keras.__version__} on {keras.config.backend()}, {os.cpu_count()} cores\n")
    print("| model | call | CPU time, not noted | ratio noted / not noted |")
    print("| --- | --- | --- | --- |")
    for name in MODELS:
        print("\n".join(measure(name, options.repeats)), flush=True)


if __name__ == "__main__":
    main()
