"""Drop-in Keras layers that carry quantizers and noise."""

from .centered_batch_normalization import (
    CenteredBatchNormalization as CenteredBatchNormalization,
)
from .clip import Clip as Clip
from .noise_point import NoisePoint as NoisePoint
from .quant_activation import QuantActivation as QuantActivation
from .quant_activation import QuantInput as QuantInput
from .quant_attention import (
    NoisyQuantGroupQueryAttention as NoisyQuantGroupQueryAttention,
)
from .quant_attention import (
    NoisyQuantMultiHeadAttention as NoisyQuantMultiHeadAttention,
)
from .quant_attention import QuantGroupQueryAttention as QuantGroupQueryAttention
from .quant_attention import QuantMultiHeadAttention as QuantMultiHeadAttention
from .quant_average_pooling import (
    NoisyQuantAveragePooling1D as NoisyQuantAveragePooling1D,
)
from .quant_average_pooling import (
    NoisyQuantAveragePooling2D as NoisyQuantAveragePooling2D,
)
from .quant_average_pooling import (
    NoisyQuantAveragePooling3D as NoisyQuantAveragePooling3D,
)
from .quant_average_pooling import (
    NoisyQuantGlobalAveragePooling1D as NoisyQuantGlobalAveragePooling1D,
)
from .quant_average_pooling import (
    NoisyQuantGlobalAveragePooling2D as NoisyQuantGlobalAveragePooling2D,
)
from .quant_average_pooling import (
    NoisyQuantGlobalAveragePooling3D as NoisyQuantGlobalAveragePooling3D,
)
from .quant_average_pooling import QuantAveragePooling1D as QuantAveragePooling1D
from .quant_average_pooling import QuantAveragePooling2D as QuantAveragePooling2D
from .quant_average_pooling import QuantAveragePooling3D as QuantAveragePooling3D
from .quant_average_pooling import (
    QuantGlobalAveragePooling1D as QuantGlobalAveragePooling1D,
)
from .quant_average_pooling import (
    QuantGlobalAveragePooling2D as QuantGlobalAveragePooling2D,
)
from .quant_average_pooling import (
    QuantGlobalAveragePooling3D as QuantGlobalAveragePooling3D,
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
from .quant_conv_batch_norm import (
    NoisyQuantConv1DBatchNorm as NoisyQuantConv1DBatchNorm,
)
from .quant_conv_batch_norm import (
    NoisyQuantConv2DBatchNorm as NoisyQuantConv2DBatchNorm,
)
from .quant_conv_batch_norm import QuantConv1DBatchNorm as QuantConv1DBatchNorm
from .quant_conv_batch_norm import QuantConv2DBatchNorm as QuantConv2DBatchNorm
from .quant_conv_transpose import NoisyQuantConv1DTranspose as NoisyQuantConv1DTranspose
from .quant_conv_transpose import NoisyQuantConv2DTranspose as NoisyQuantConv2DTranspose
from .quant_conv_transpose import NoisyQuantConv3DTranspose as NoisyQuantConv3DTranspose
from .quant_conv_transpose import QuantConv1DTranspose as QuantConv1DTranspose
from .quant_conv_transpose import QuantConv2DTranspose as QuantConv2DTranspose
from .quant_conv_transpose import QuantConv3DTranspose as QuantConv3DTranspose
from .quant_dense import NoisyQuantDense as NoisyQuantDense
from .quant_dense import QuantDense as QuantDense
from .quant_dense_batch_norm import NoisyQuantDenseBatchNorm as NoisyQuantDenseBatchNorm
from .quant_dense_batch_norm import QuantDenseBatchNorm as QuantDenseBatchNorm
from .quant_depthwise_conv import NoisyQuantDepthwiseConv1D as NoisyQuantDepthwiseConv1D
from .quant_depthwise_conv import NoisyQuantDepthwiseConv2D as NoisyQuantDepthwiseConv2D
from .quant_depthwise_conv import QuantDepthwiseConv1D as QuantDepthwiseConv1D
from .quant_depthwise_conv import QuantDepthwiseConv2D as QuantDepthwiseConv2D
from .quant_depthwise_conv_batch_norm import (
    NoisyQuantDepthwiseConv2DBatchNorm as NoisyQuantDepthwiseConv2DBatchNorm,
)
from .quant_depthwise_conv_batch_norm import (
    QuantDepthwiseConv2DBatchNorm as QuantDepthwiseConv2DBatchNorm,
)
from .quant_einsum_dense import NoisyQuantEinsumDense as NoisyQuantEinsumDense
from .quant_einsum_dense import QuantEinsumDense as QuantEinsumDense
from .quant_embedding import NoisyQuantEmbedding as NoisyQuantEmbedding
from .quant_embedding import QuantEmbedding as QuantEmbedding
from .quant_gru import NoisyQuantGRU as NoisyQuantGRU
from .quant_gru import QuantGRU as QuantGRU
from .quant_gru import QuantGRUCell as QuantGRUCell
from .quant_layer_normalization import (
    NoisyQuantLayerNormalization as NoisyQuantLayerNormalization,
)
from .quant_layer_normalization import (
    QuantLayerNormalization as QuantLayerNormalization,
)
from .quant_lstm import NoisyQuantLSTM as NoisyQuantLSTM
from .quant_lstm import QuantLSTM as QuantLSTM
from .quant_lstm import QuantLSTMCell as QuantLSTMCell
from .quant_max_pooling import (
    NoisyQuantGlobalMaxPooling1D as NoisyQuantGlobalMaxPooling1D,
)
from .quant_max_pooling import (
    NoisyQuantGlobalMaxPooling2D as NoisyQuantGlobalMaxPooling2D,
)
from .quant_max_pooling import (
    NoisyQuantGlobalMaxPooling3D as NoisyQuantGlobalMaxPooling3D,
)
from .quant_max_pooling import NoisyQuantMaxPooling1D as NoisyQuantMaxPooling1D
from .quant_max_pooling import NoisyQuantMaxPooling2D as NoisyQuantMaxPooling2D
from .quant_max_pooling import NoisyQuantMaxPooling3D as NoisyQuantMaxPooling3D
from .quant_max_pooling import QuantGlobalMaxPooling1D as QuantGlobalMaxPooling1D
from .quant_max_pooling import QuantGlobalMaxPooling2D as QuantGlobalMaxPooling2D
from .quant_max_pooling import QuantGlobalMaxPooling3D as QuantGlobalMaxPooling3D
from .quant_max_pooling import QuantMaxPooling1D as QuantMaxPooling1D
from .quant_max_pooling import QuantMaxPooling2D as QuantMaxPooling2D
from .quant_max_pooling import QuantMaxPooling3D as QuantMaxPooling3D
from .quant_merging import NoisyQuantAdd as NoisyQuantAdd
from .quant_merging import NoisyQuantAverage as NoisyQuantAverage
from .quant_merging import NoisyQuantConcatenate as NoisyQuantConcatenate
from .quant_merging import NoisyQuantDot as NoisyQuantDot
from .quant_merging import NoisyQuantMaximum as NoisyQuantMaximum
from .quant_merging import NoisyQuantMinimum as NoisyQuantMinimum
from .quant_merging import NoisyQuantMultiply as NoisyQuantMultiply
from .quant_merging import NoisyQuantSubtract as NoisyQuantSubtract
from .quant_merging import QuantAdd as QuantAdd
from .quant_merging import QuantAverage as QuantAverage
from .quant_merging import QuantConcatenate as QuantConcatenate
from .quant_merging import QuantDot as QuantDot
from .quant_merging import QuantMaximum as QuantMaximum
from .quant_merging import QuantMinimum as QuantMinimum
from .quant_merging import QuantMultiply as QuantMultiply
from .quant_merging import QuantSubtract as QuantSubtract
from .quant_reciprocal_pooling import (
    NoisyQuantReciprocalAveragePooling2D as NoisyQuantReciprocalAveragePooling2D,
)
from .quant_reciprocal_pooling import (
    NoisyQuantReciprocalGlobalAveragePooling2D as NoisyQuantReciprocalGlobalAveragePooling2D,  # noqa: E501
)
from .quant_reciprocal_pooling import (
    QuantReciprocalAveragePooling2D as QuantReciprocalAveragePooling2D,
)
from .quant_reciprocal_pooling import (
    QuantReciprocalGlobalAveragePooling2D as QuantReciprocalGlobalAveragePooling2D,
)
from .quant_separable_conv import NoisyQuantSeparableConv1D as NoisyQuantSeparableConv1D
from .quant_separable_conv import NoisyQuantSeparableConv2D as NoisyQuantSeparableConv2D
from .quant_separable_conv import QuantSeparableConv1D as QuantSeparableConv1D
from .quant_separable_conv import QuantSeparableConv2D as QuantSeparableConv2D
from .quant_simple_rnn import NoisyQuantSimpleRNN as NoisyQuantSimpleRNN
from .quant_simple_rnn import QuantSimpleRNN as QuantSimpleRNN
from .quant_simple_rnn import QuantSimpleRNNCell as QuantSimpleRNNCell
