"""The losses of a model's two outputs do not add up to its loss, and no average over the rows gives them.

What the user sees: `loss` should be `price_loss + demand_loss`, and it is something else, in `fit` and in `evaluate`.
`demand_loss` and `demand_mse` are the same function on the same rows and differ. For all losses this was reported in
tf#38165 and put right by keras PR#19363 after Keras 3.0; for the losses of single outputs it is so up to 3.15.1.

Why: the rows do not fill the last batch, so TensorFlow runs steps compiled for batches of any size. `price_loss` and
`demand_loss` are weighted by that size, which is then not known, and every batch counts as one: here the last one,
with 2 rows, as much as one with 16. On JAX and PyTorch the size is always known, and the numbers add up.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "partial-batch-weight",
    "failed": ["partial-batch-weight"],
    "other_backends": {"jax": [], "torch": []},
}

ROWS = 50

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(ROWS + 32, 4)).astype("float32")
price = (x @ [1.0, -1.0, 2.0, 0.5]).astype("float32")
demand = (x @ [-0.5, 1.5, 1.0, 1.0]).astype("float32")
price[ROWS - 2 : ROWS] += 12  # the latest orders, in a new price range
demand[ROWS - 2 : ROWS] += 12
train = (x[:ROWS], {"price": price[:ROWS], "demand": demand[:ROWS]})
val = (x[ROWS:], {"price": price[ROWS:], "demand": demand[ROWS:]})

inputs = keras.Input((4,))
hidden = keras.layers.Dense(8, activation="relu")(inputs)
outputs = {
    "price": keras.layers.Dense(1, name="price")(hidden),
    "demand": keras.layers.Dense(1, name="demand")(hidden),
}
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.SGD(0.002),
    loss={"price": "mse", "demand": "mse"},
    metrics={"demand": ["mse"]},
)

history = model.fit(*train, batch_size=16, epochs=5, shuffle=False, verbose=2, validation_data=val)

last = {name: values[-1] for name, values in history.history.items()}
print(f"price_loss + demand_loss = {last['price_loss'] + last['demand_loss']:.4f}, loss = {last['loss']:.4f}")
print(f"demand_loss = {last['demand_loss']:.4f}, demand_mse = {last['demand_mse']:.4f}")
