"""Dense layers with batch normalization folded into quantized weights."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._folding import FoldedLayer
from ._quantized import Noisy


@register_keras_serializable(package="kerasqnn")
class QuantDenseBatchNorm(FoldedLayer, keras.layers.Dense):
    """`keras.layers.Dense` and batch normalization as one layer with quantized weights.

    Formula, with `s(v) = gamma / sqrt(v + epsilon)` a channel, and mean `m`, variance
    `v` the moving ones:

        k = kernel_quantizer(s(v) * kernel)
        b = bias_quantizer(s(v) * (bias - m) + beta)
        y = activation(noise(inputs @ k + b))

    so that hardware has one product and one sum, whose weights are on the grids of the
    quantizers. In training `m`, `v` are those of the batch, of `inputs @ kernel + bias`
    with the float weights, which also move the moving ones; after `ema_freeze_delay`
    steps the moving ones stay as they are and are used in training too. While batches
    count,

    - `folding_mode="batch_stats_folding"` puts the batch's statistics in the formula;
    - `"ema_stats_folding"` takes the moving variance, `w`, for the kernel, so that its
      codes do not jump from batch to batch, and corrects the product `inputs @ k` by
      `sqrt(w + epsilon) / sqrt(v + epsilon)`.

    A frozen layer (`trainable=False`) computes inference in training too, as Keras's
    batch normalization does. Gradients pass through the batch's statistics and not
    through the moving ones. The steps are counted in `layer.iteration`, which starts at
    -1 and is saved; step `iteration <= ema_freeze_delay` uses the batch. The float
    weights after the fold, before the quantizers, are `folded_kernel_and_bias()`.

    What inference folds has the same bits in every backend, eager, traced or compiled.
    With `inverse="reciprocal"` inference and training have those of qkeras-v3's
    `QDenseBatchnorm` in traced functions, that is in `predict` and `fit`, on TensorFlow
    without XLA.

    Args:
        *args: Those of `keras.layers.Dense`, in its order; `activation` may also be a
            quantizer such as `"quantized_relu(4,2)"`.
        momentum: As `keras.layers.BatchNormalization`, like all following arguments up
            to `gamma_constraint`.
        epsilon: As there.
        center: As there.
        scale: As there.
        beta_initializer: As there.
        gamma_initializer: As there.
        moving_mean_initializer: As there.
        moving_variance_initializer: As there.
        beta_regularizer: As there.
        gamma_regularizer: As there.
        beta_constraint: As there.
        gamma_constraint: As there.
        ema_freeze_delay: Number of training steps, 0 or more, after which the moving
            statistics are frozen; None or a negative number: never.
        folding_mode: `"ema_stats_folding"` or `"batch_stats_folding"`.
        inverse: How `gamma / sqrt` is computed: `"divide"`, correctly rounded and the
            same with XLA; or as QKeras does, see `QuantBatchNormalization`.
        kernel_quantizer: Quantizer of the folded kernel, or None; scales one a channel
            run along the outputs.
        bias_quantizer: Quantizer of the folded bias, or None. The fold has a bias with
            `use_bias=False` too.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, ..., inputs)`. A mask keeps masked steps out of the statistics.

    Output shape:
        `(batch, ..., units)`.

    Raises:
        ValueError: If a string names no quantizer, noise, activation, folding mode or
            inverse.

    Example:

    >>> import keras, kerasqnn
    >>> layer = kerasqnn.layers.QuantDenseBatchNorm(
    ...     2, kernel_quantizer="quantized_bits(4,0,1)", ema_freeze_delay=1000
    ... )
    >>> layer(keras.ops.ones((4, 3)), training=True).shape
    TensorShape([4, 2])
    >>> [w.name for w in layer.weights]
    ['kernel', 'bias', 'gamma', 'beta', 'moving_mean', 'moving_variance', 'iteration']

    References:
        - Jacob et al., https://arxiv.org/abs/1712.05877, section 3.2.
        - QKeras `QDenseBatchnorm`, `QConv2DBatchnorm`.
    """

    quantizer_arguments = ("kernel_quantizer", "bias_quantizer")

    def _convolve_with(self, inputs: Any, kernel: Any) -> Any:
        return ops.matmul(inputs, kernel)


@register_keras_serializable(package="kerasqnn")
class NoisyQuantDenseBatchNorm(Noisy, QuantDenseBatchNorm):
    """`QuantDenseBatchNorm` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
