"""Drop-in Keras layers that carry quantizers and noise."""

from .clip import Clip as Clip
from .noise_point import NoisePoint as NoisePoint
from .quant_activation import QuantActivation as QuantActivation
from .quant_activation import QuantInput as QuantInput
from .quant_average_pooling import (
    NoisyQuantAveragePooling2D as NoisyQuantAveragePooling2D,
)
from .quant_average_pooling import (
    NoisyQuantGlobalAveragePooling2D as NoisyQuantGlobalAveragePooling2D,
)
from .quant_average_pooling import QuantAveragePooling2D as QuantAveragePooling2D
from .quant_average_pooling import (
    QuantGlobalAveragePooling2D as QuantGlobalAveragePooling2D,
)
from .quant_batch_normalization import (
    QuantBatchNormalization as QuantBatchNormalization,
)
from .quant_conv import NoisyQuantConv1D as NoisyQuantConv1D
from .quant_conv import NoisyQuantConv2D as NoisyQuantConv2D
from .quant_conv import NoisyQuantConv3D as NoisyQuantConv3D
from .quant_conv import QuantConv1D as QuantConv1D
from .quant_conv import QuantConv2D as QuantConv2D
from .quant_conv import QuantConv3D as QuantConv3D
from .quant_conv_transpose import NoisyQuantConv1DTranspose as NoisyQuantConv1DTranspose
from .quant_conv_transpose import NoisyQuantConv2DTranspose as NoisyQuantConv2DTranspose
from .quant_conv_transpose import NoisyQuantConv3DTranspose as NoisyQuantConv3DTranspose
from .quant_conv_transpose import QuantConv1DTranspose as QuantConv1DTranspose
from .quant_conv_transpose import QuantConv2DTranspose as QuantConv2DTranspose
from .quant_conv_transpose import QuantConv3DTranspose as QuantConv3DTranspose
from .quant_dense import NoisyQuantDense as NoisyQuantDense
from .quant_dense import QuantDense as QuantDense
from .quant_depthwise_conv import NoisyQuantDepthwiseConv1D as NoisyQuantDepthwiseConv1D
from .quant_depthwise_conv import NoisyQuantDepthwiseConv2D as NoisyQuantDepthwiseConv2D
from .quant_depthwise_conv import QuantDepthwiseConv1D as QuantDepthwiseConv1D
from .quant_depthwise_conv import QuantDepthwiseConv2D as QuantDepthwiseConv2D
from .quant_einsum_dense import NoisyQuantEinsumDense as NoisyQuantEinsumDense
from .quant_einsum_dense import QuantEinsumDense as QuantEinsumDense
from .quant_separable_conv import NoisyQuantSeparableConv1D as NoisyQuantSeparableConv1D
from .quant_separable_conv import NoisyQuantSeparableConv2D as NoisyQuantSeparableConv2D
from .quant_separable_conv import QuantSeparableConv1D as QuantSeparableConv1D
from .quant_separable_conv import QuantSeparableConv2D as QuantSeparableConv2D
