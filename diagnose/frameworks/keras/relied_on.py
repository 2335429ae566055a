"""The names that this package relies on and that Keras (or TensorFlow) promises to nobody, and the releases they were
tested with. Nothing outside this package uses them; a test goes over the table on every release and backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIRST: Final = (3, 8, 0)
LAST: Final = (3, 15, 1)
"""The oldest and the newest release of Keras that the tests were run with (`tools/releases.py`)."""

EVERY: Final = ("tensorflow", "jax", "torch")


@dataclass(frozen=True, slots=True)
class Relied:
    """One name, under the class or module that has it; after a colon, a local variable or a text of a function."""

    name: str
    why: str
    backends: tuple[str, ...] = EVERY
    """Those it is there on."""


_TF, _JAX, _TORCH = ("tensorflow",), ("jax",), ("torch",)
_LAYER = "keras.src.layers.layer.Layer."
_TRAINER = "keras.src.trainers.trainer.Trainer."
_UTILS = "keras.src.trainers.compile_utils."
_OPTIMIZER = "keras.src.optimizers.base_optimizer.BaseOptimizer."
_WRAPPER = "keras.src.metrics.reduction_metrics.MeanMetricWrapper."
_FUNCTION = "keras.src.ops.function.Function."
_ARRAYS = "keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter."
_DATA = "tensorflow.python.data.ops."

RELIED_ON: Final = (
    # ── layers, saving ──
    Relied(_LAYER + "_flatten_layers", "the layers of a model, in the order of the trace"),
    Relied(_LAYER + "_call_has_training_arg", "which layers may differ in training"),
    Relied(_LAYER + "_trainable_variables", "whose weights a model's variables are"),
    Relied(_LAYER + "_non_trainable_variables", "whose statistics a model's variables are"),
    Relied(_LAYER + "_trainable", "a replay runs with the flags of the traced steps"),
    Relied(_LAYER + "_losses", "penalties of a pass; put back after a replay"),
    Relied(_LAYER + "_loss_ids", "put back after a replay"),
    Relied(_LAYER + "_layers", "not followed: Keras saves no layer by way of it"),
    Relied(
        "keras.src.utils.module_utils.LazyModule._available",
        "a model is described without importing TensorFlow",
    ),
    Relied("keras.src.models.functional.Functional", "its layers are saved in the order of `layers`"),
    Relied("keras.src.models.sequential.Sequential._functional", "not followed by saving"),
    Relied(_FUNCTION + "_operations", "not followed by saving"),
    Relied(_FUNCTION + "_operations_by_depth", "not followed by saving"),
    Relied(_FUNCTION + "_nodes", "not followed by saving"),
    Relied("torch.nn.modules.module.Module._modules", "where a layer keeps the layers in its attributes", _TORCH),
    Relied("keras.src.backend.torch.layer.TorchLayer._torch_params", "not followed by saving", _TORCH),
    # ── trainers ──
    Relied("keras.src.models.model.Model", "where `fit` is patched once it is imported"),
    Relied(_TRAINER + "_compile_loss", "the compiled loss, put in for a replay"),
    Relied(_TRAINER + "_compile_metrics", "the compiled metrics, put in for a replay"),
    Relied(_TRAINER + "_loss_tracker", "the mean of the total loss, put in for a replay"),
    Relied(_TRAINER + "_compute_loss", "the loss as the train step asks for it"),
    Relied(_TRAINER + "_flatten_metrics_in_order", "what evaluate returns, from its values by name"),
    Relied(_TRAINER + "_symbolic_build", "makes the variables of a model that was never used"),
    Relied("keras.Model._eval_epoch_iterator", "put back after a replay"),
    Relied("keras.Model._jax_state", "the newest values while a fit runs", _JAX),
    Relied("keras.Model._jax_state_synced", "whether the variables hold the newest values", _JAX),
    Relied("keras.src.losses.loss.unscale_loss_for_distribution", "the loss of a replay under tf.distribute"),
    Relied("keras.src.backend.get_keras_mask", "which steps of the predictions a mask leaves out"),
    Relied("keras.src.backend.set_keras_mask", "on JAX, metrics of a train step see no masks"),
    # ── metrics and losses ──
    Relied(_UTILS + "CompileMetrics._flat_metrics", "which metric is of which output"),
    Relied(_UTILS + "CompileMetrics._flat_weighted_metrics", "which metric is weighted"),
    Relied(_UTILS + "MetricsList.output_name", "what the logs put before a metric's name"),
    Relied(_UTILS + "CompileLoss._flat_losses", "the function and the weight of each output's loss"),
    Relied(_UTILS + "CompileLoss.Loss.loss_weights", "the weight of one output's loss"),
    Relied(_UTILS + "CompileMetrics._user_metrics", "what metrics take from outside the model"),
    Relied(_UTILS + "CompileMetrics._user_weighted_metrics", "what metrics take from outside the model"),
    Relied(_UTILS + "CompileLoss._user_loss", "whether a loss is a mean over rows"),
    Relied(_WRAPPER + "_fn", "the function that a metric averages"),
    Relied(_WRAPPER + "_fn_kwargs", "its settings"),
    Relied(_WRAPPER + "_direction", "which way a metric is better"),
    # ── optimizers ──
    Relied(_OPTIMIZER + "_learning_rate", "which variable is the rate, and whether it is a schedule"),
    Relied(_OPTIMIZER + "_iterations", "which variable counts updates"),
    Relied(_OPTIMIZER + "_trainable_variables", "whose the moving averages are"),
    Relied(_OPTIMIZER + "_model_variables_moving_average", "which variables are moving averages of weights"),
    # ── random numbers ──
    Relied("keras.src.backend.common.global_state.get_global_attribute", "the global seed generator, if there is one"),
    Relied("keras.src.backend.common.global_state.set_global_attribute", "taken away again after a replay"),
    Relied("keras.src.random.seed_generator.global_seed_generator", "its state is set for a replay"),
    # ── a running fit ──
    Relied("keras.Model.evaluate:_use_cached_eval_dataset", "which evaluate is fit's own validation"),
    Relied("keras.Model.fit:callbacks", "whether a fit still runs"),
    Relied("keras.Model.fit:epoch_iterator", "where the batches of a fit come from"),
    Relied("keras.Model.fit:val_x", "the validation data"),
    Relied("keras.Model.fit:val_y", "the validation data"),
    Relied("keras.Model.fit:val_sample_weight", "the validation data"),
    Relied("keras.Model.evaluate:epoch_iterator", "where the batches of a validation pass come from"),
    Relied("keras.src.callbacks.callback_list.CallbackList._model", "the model of a fit, without a state sync on JAX"),
    Relied("keras.src.callbacks.callback_list.CallbackList._async_train", "in which thread batch hooks run"),
    Relied("keras.src.callbacks.model_checkpoint.ModelCheckpoint._current_epoch", "whether it was used before"),
    Relied("keras.src.callbacks.early_stopping.EarlyStopping._set_monitor_op", "`OwnedEarlyStopping`'s direction"),
    Relied("keras.src.trainers.epoch_iterator.EpochIterator.data_adapter", "the kind of data a fit got"),
    Relied("keras.src.trainers.epoch_iterator.EpochIterator.num_batches", "the steps of an epoch"),
    Relied("keras.src.trainers.epoch_iterator.EpochIterator._num_batches", "all batches of the data"),
    Relied("keras.src.trainers.epoch_iterator.EpochIterator._get_iterator", "what is iterated over"),
    Relied("keras.src.trainers.epoch_iterator.EpochIterator._enumerate_iterator", "how far an epoch is"),
    Relied(_ARRAYS + "_inputs", "the arrays of a fit"),
    Relied(_ARRAYS + "_num_samples", "the rows of a fit on arrays"),
    Relied(_ARRAYS + "_batch_size", "the rows of a batch of arrays"),
    Relied(_ARRAYS + "_shuffle", "whether one order is drawn for all rows of arrays"),
    Relied(_ARRAYS + "_get_iterator:global_permutation", "the order of the rows of arrays", _JAX),
    # ── variables ──
    Relied("keras.src.backend.common.variables.Variable._value", "the tensors of the variables at each step", _TORCH),
    # ── TensorFlow ──
    Relied("tensorflow.python.eager.execute.execute", "variables read with one operation", _TF),
    Relied("tensorflow.python.eager.context.context", "variables read with one operation", _TF),
    Relied(
        "tensorflow.python.trackable.base.Trackable._maybe_initialize_trackable:_self_unconditional_checkpoint_dependencies",
        "what begins so in a layer is TensorFlow's, not the layer's",
        _TF,
    ),
    Relied("tensorflow.python.ops.resource_variable_ops.ResourceVariable", "variables read in one piece", _TF),
    Relied(
        "tensorflow.python.eager.polymorphic_function.polymorphic_function.UnliftedInitializerVariable",
        "variables read in one piece: those of metrics",
        _TF,
    ),
    Relied("tensorflow.python.distribute.values.SyncOnReadVariable", "metrics that replicas add up apart", _TF),
    Relied("tensorflow.python.distribute.values.PerReplicaSpec._value_specs", "the batch axis of a share", _TF),
    Relied(
        "tensorflow.python.eager.polymorphic_function.polymorphic_function.Function._omit_frequent_tracing_warning",
        "functions of ours set off no warning",
        _TF,
    ),
    Relied("tensorflow.python.framework.none_tensor.NoneTensorSpec", "batches with None in them", _TF),
    Relied(_DATA + "dataset_ops._OptionsDataset", "whether a pipeline runs ahead at its end", _TF),
    Relied(_DATA + "dataset_ops._OptionsDataset._input_dataset", "whether a pipeline runs ahead at its end", _TF),
    Relied(_DATA + "prefetch_op._PrefetchDataset", "whether a pipeline runs ahead at its end", _TF),
    Relied(_DATA + "map_op._ParallelMapDataset", "whether a pipeline runs ahead at its end", _TF),
    # Of the pipeline that Keras makes of arrays, in which the order of rows is noted: another one is left alone.
    Relied(_DATA + "prefetch_op._PrefetchDataset._buffer_size", "behind the batches of arrays", _TF),
    Relied(_DATA + "map_op._ParallelMapDataset._map_func", "gathers the batches of arrays", _TF),
    Relied(_DATA + "map_op._ParallelMapDataset._num_parallel_calls", "how batches of arrays are gathered", _TF),
    Relied(_DATA + "map_op._ParallelMapDataset._deterministic", "how batches of arrays are gathered", _TF),
    Relied(_DATA + "map_op._ParallelMapDataset._use_inter_op_parallelism", "how batches of arrays are gathered", _TF),
    Relied(_DATA + "map_op._ParallelMapDataset._preserve_cardinality", "how batches of arrays are gathered", _TF),
    Relied(_DATA + "map_op._ParallelMapDataset._use_unbounded_threadpool", "how batches are gathered", _TF),
    Relied(_DATA + "dataset_ops.DatasetV2._flat_types", "the batches of arrays", _TF),
    Relied(_DATA + "dataset_ops.DatasetV2._flat_shapes", "the batches of arrays", _TF),
    Relied(_DATA + "zip_op._ZipDataset", "joins arrays and the order of their rows", _TF),
    Relied(_DATA + "zip_op._ZipDataset._datasets", "joins arrays and the order of their rows", _TF),
    Relied(_DATA + "flat_map_op._FlatMapDataset", "cuts the order of rows into batches", _TF),
    Relied(_DATA + "repeat_op._RepeatDataset", "the arrays, for each batch", _TF),
    Relied(_DATA + "from_tensors_op._TensorDataset", "the arrays", _TF),
    Relied(_DATA + "from_tensors_op._TensorDataset._tensors", "the arrays", _TF),
)
