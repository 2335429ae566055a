"""The internals of TensorFlow and Keras that recording and replaying replicas rely on."""

from __future__ import annotations

import inspect

import pytest

tf = pytest.importorskip("tensorflow")


def test_a_strategy_tells_its_local_devices_and_a_distributed_variable_its_parts() -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        mirrored = tf.Variable(1.0)
        summed = tf.Variable(
            2.0, synchronization=tf.VariableSynchronization.ON_READ, aggregation=tf.VariableAggregation.SUM
        )
    assert len(strategy.extended.worker_devices) == 1
    for variable, name in ((mirrored, "MirroredVariable"), (summed, "SyncOnReadVariable")):
        assert type(variable).__name__ == name and isinstance(variable, tf.distribute.DistributedValues)
        assert [float(part.numpy()) for part in variable.values] == [float(variable.numpy())]
    assert summed.aggregation == tf.VariableAggregation.SUM


def test_the_specs_of_distributed_batches_hold_those_of_their_parts() -> None:
    from tensorflow.python.distribute.values import PerReplicaSpec

    spec = tf.TensorSpec([None, 3])
    assert list(PerReplicaSpec(spec, spec)._value_specs) == [spec, spec]


def test_keras_scales_losses_by_the_strategy_and_takes_it_back_in_the_step() -> None:
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
    from keras.src.losses import loss

    assert isinstance(TensorFlowTrainer.distribute_strategy, property)
    assert float(loss.unscale_loss_for_distribution(tf.constant(2.0))) == 2.0
    assert "unscale_loss_for_distribution(loss)" in inspect.getsource(TensorFlowTrainer.train_step)
