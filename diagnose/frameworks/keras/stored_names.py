"""What of Keras a stored architecture may name, by the place it may stand in. Written out, not read off the installed
Keras: a class that a later release adds is refused until someone has looked at what it runs or opens."""

from __future__ import annotations

from typing import Final


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


LAYERS: Final = _names("""
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention AugMix
    AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional
    CategoryEncoding CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D CutMix
    Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU
    GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention HashedCrossing
    Hashing Identity InputLayer IntegerLookup LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes
    MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention Multiply
    Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness RandomColorDegeneration
    RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur
    RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation
    RandomSharpness RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax Solarization
    SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup Subtract
    TextVectorization TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D
    ZeroPadding2D ZeroPadding3D
    """)

REFUSED_LAYERS: Final = _names("FlaxLayer JaxLayer Lambda Layer TFSMLayer TorchModuleWrapper Wrapper")
"""Layers of Keras that carry or load code, or do nothing of their own. Only a test reads this: what is in neither list
of an installed Keras is to be looked at."""

MODEL, LAYER, OPERATION = "a model", "a layer", "an operation"

CLASSES: Final[dict[str, dict[str, frozenset[str]]]] = {
    MODEL: {
        "keras": frozenset({"Model", "Sequential"}),
        "keras.models": frozenset({"Model", "Sequential"}),
        "keras.src.models.functional": frozenset({"Functional"}),
    },
    LAYER: {"keras.layers": LAYERS},
    "an initializer": {
        "keras.initializers": _names("""
            Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal
            RandomNormal RandomUniform STFT TruncatedNormal VarianceScaling Zeros
            """)
    },
    "a regularizer": {"keras.regularizers": _names("L1 L1L2 L2 OrthogonalRegularizer")},
    "a constraint": {"keras.constraints": _names("MaxNorm MinMaxNorm NonNeg UnitNorm")},
    "an optimizer": {
        "keras.optimizers": _names("""
            Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer Muon Nadam RMSprop SGD
            ScheduleFreeAdamW
            """),
        # On torch, some are classes of their own, and are written as such.
        **{
            f"keras.src.backend.torch.optimizers.torch_{name.lower()}": frozenset({name})
            for name in ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "Nadam", "RMSprop", "SGD")
        },
    },
    "a schedule": {
        "keras.optimizers.schedules": _names("""
            CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay PolynomialDecay
            """)
    },
    "a loss": {
        "keras.losses": _names("""
            BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy CategoricalFocalCrossentropy
            CategoricalGeneralizedCrossEntropy CategoricalHinge Circle CosineSimilarity Dice Hinge Huber KLDivergence
            LogCosh MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
            SparseCategoricalCrossentropy SquaredHinge Tversky
            """)
    },
    "a metric": {
        "keras.metrics": _names("""
            AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy CategoricalCrossentropy
            CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score FBetaScore FalseNegatives FalsePositives
            Hinge IoU KLDivergence LogCoshError Mean MeanAbsoluteError MeanAbsolutePercentageError MeanIoU
            MeanMetricWrapper MeanSquaredError MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation
            Poisson Precision PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
            SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy
            SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum TopKCategoricalAccuracy
            TrueNegatives TruePositives
            """)
    },
    "a dtype policy": {
        "keras": frozenset({"DTypePolicy", "FloatDTypePolicy"}),
        "keras.dtype_policies": frozenset({"DTypePolicyMap", "QuantizedDTypePolicy", "QuantizedFloat8DTypePolicy"}),
    },
    "a seed": {"keras.random": frozenset({"SeedGenerator"})},
}
"""Place -> module -> classes, each under the one name that Keras's serialization gives it."""

OPERATIONS: Final[dict[str, frozenset[str] | None]] = {
    "keras.src.ops.core": _names(
        "Cast ConvertToTensor SaturateCast Scatter ScatterUpdate Slice SliceUpdate StopGradient Unstack"
    ),
    "keras.src.ops.einops": None,
    "keras.src.ops.image": None,
    "keras.src.ops.linalg": None,
    "keras.src.ops.math": None,
    "keras.src.ops.nn": None,
    "keras.src.ops.numpy": None,
}
"""Modules whose operations may stand among a functional model's layers: those listed, or (None) all that the module
defines. Those of `core` that are left out call functions."""

_LOSSES = _names("""
    binary_crossentropy binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy
    categorical_generalized_cross_entropy categorical_hinge circle cosine_similarity ctc dice hinge huber kl_divergence
    log_cosh mean_absolute_error mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error
    poisson sparse_categorical_crossentropy squared_hinge tversky
    """)

FUNCTIONS: Final[dict[str, dict[str, frozenset[str]]]] = {
    "an activation": {
        "keras.activations": _names("""
            celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear
            log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus
            sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
            """)
    },
    "a loss": {"keras.losses": _LOSSES},
    "a metric": {
        "keras.metrics": _names("""
            binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy categorical_crossentropy
            categorical_focal_crossentropy categorical_hinge concordance_correlation hinge huber kl_divergence log_cosh
            mean_absolute_error mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error
            pearson_correlation poisson sparse_categorical_accuracy sparse_categorical_crossentropy
            sparse_top_k_categorical_accuracy squared_hinge top_k_categorical_accuracy
            """)
    },
}
"""Place -> module -> functions. Keras's `get`, `serialize` and `deserialize` of the same modules are none of these."""
