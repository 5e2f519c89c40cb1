"""Drop-in Keras layers that carry quantizers and noise."""

from .noise_point import NoisePoint as NoisePoint
from .quant_activation import QuantActivation as QuantActivation
from .quant_activation import QuantInput as QuantInput
from .quant_batch_normalization import (
    QuantBatchNormalization as QuantBatchNormalization,
)
from .quant_conv2d import NoisyQuantConv2D as NoisyQuantConv2D
from .quant_conv2d import QuantConv2D as QuantConv2D
from .quant_dense import NoisyQuantDense as NoisyQuantDense
from .quant_dense import QuantDense as QuantDense
