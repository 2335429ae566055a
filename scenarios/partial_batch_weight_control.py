"""Control: batches of one size, and the losses of the two outputs add up to the loss.

What the user sees: the same model on two rows less. `price_loss + demand_loss` is `loss`, and `demand_loss` is
`demand_mse`.

Why: 48 rows make three full batches of 16. With batches of one size it does not matter what each one counts.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "partial-batch-weight", "failed": []}

ROWS = 48

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
