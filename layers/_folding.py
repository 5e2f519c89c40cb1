"""What all layers with folded batch normalization share: the fold and its training."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import ops

from ..errors import unknown_name
from ..quantizers import QuantizedWeight
from ._normalization import INVERSES, inverse_deviation, rounded
from ._quantized import QuantizedLayer
from ._weights import values_of

FOLDING_MODES = ("ema_stats_folding", "batch_stats_folding")
_NORMALIZATION = {
    name: parameter.default
    for name, parameter in inspect.signature(
        keras.layers.BatchNormalization
    ).parameters.items()
    if name not in ("axis", "synchronized", "kwargs") and "renorm" not in name
}


class _CountedBatchNormalization(keras.layers.BatchNormalization):
    """The weights of a normalization and a counter of training steps."""

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        # Here, since Keras's convolutions save none but their own weights.
        self.iteration = self.add_weight(
            name="iteration",
            shape=(),
            initializer=keras.initializers.Constant(-1),
            dtype="int32",
            trainable=False,
            autocast=False,
        )


class FoldedLayer(QuantizedLayer):
    """Mixin, first in the bases: batch normalization folded into kernel and bias.

    The quantizers act on what the fold gives. `_folded` is the only place that folds:
    training, inference, reading, and so export and hardware, all use it. A subclass
    brings `_convolve_with(inputs, kernel)`, its product without a bias.
    """

    _convolve_with: Callable[[Any, Any], Any]

    option_defaults = {
        **_NORMALIZATION,
        "ema_freeze_delay": None,
        "folding_mode": "ema_stats_folding",
        "inverse": "divide",
    }
    kernel_quantizer_argument = "kernel_quantizer"

    def _set_options(self, **options: Any) -> None:
        ema_freeze_delay = options.pop("ema_freeze_delay")
        folding_mode = options.pop("folding_mode")
        if folding_mode not in FOLDING_MODES:
            raise ValueError(
                unknown_name("`folding_mode`", folding_mode, FOLDING_MODES)
            )
        inverse = options.pop("inverse")
        if inverse not in INVERSES:
            raise ValueError(unknown_name("`inverse`", inverse, INVERSES))
        delay = 0 if ema_freeze_delay is None else ema_freeze_delay
        if isinstance(delay, bool) or not isinstance(delay, Integral):
            raise ValueError(
                "`ema_freeze_delay` must be a number of training steps, or None. "
                f"Received: ema_freeze_delay={ema_freeze_delay!r}"
            )
        if self.quantization_mode:
            raise ValueError(
                "A layer with folded batch normalization needs a float dtype policy; "
                "Keras's integer policies would bypass the fold. "
                f"Received: dtype={self.dtype_policy.name!r}"
            )
        self.ema_freeze_delay = ema_freeze_delay
        self.folding_mode = folding_mode
        self.inverse = inverse
        first = getattr(self, "data_format", "channels_last") == "channels_first"
        self.batch_normalization = _CountedBatchNormalization(
            axis=1 if first else -1,
            name="batch_normalization",
            dtype=self.dtype_policy,
            **options,
        )

    def _build_quantizers(self, input_shape: Any) -> None:
        """Build the normalization, whose weights the quantizers see, and them."""
        self.batch_normalization.build(tuple(self.compute_output_shape(input_shape)))
        super()._build_quantizers(input_shape)

    def _quantized_shape(self, argument: str, input_shape: Any) -> Any:
        if argument == "bias_quantizer":  # the fold has a bias always
            return (self.compute_output_shape(input_shape)[self._channel_axis],)
        return super()._quantized_shape(argument, input_shape)

    def _values_to_quantize(self, argument: str) -> np.ndarray | None:
        folded = self._folded_kernel_and_bias()
        return values_of(folded[self.quantizer_arguments.index(argument)])

    def _quantized_weights(self) -> dict[str, QuantizedWeight]:
        names, folded = self.quantizer_arguments, self.folded_kernel_and_bias()
        return {
            argument.removesuffix("_quantizer"): QuantizedWeight.of(value, quantizer)
            for argument, value in zip(names, folded, strict=True)
            if (quantizer := getattr(self, argument)) is not None
        }

    @property
    def iteration(self) -> Any:
        """The number of training steps so far, less one: a variable."""
        return self.batch_normalization.iteration

    @property
    def _fold_dtype(self) -> str:
        return keras.backend.result_type(self.compute_dtype, "float32")

    @property
    def _channel_axis(self) -> int:
        return int(self.batch_normalization.axis)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the layer's output."""
        correction = None
        if training and self.trainable:
            mask = mask if self.supports_masking else None  # that of the outputs
            mean, factor, kernel_factor, correction = self._in_training(inputs, mask)
        else:
            mean, factor = self._in_inference()
            kernel_factor = factor
        kernel, bias = self._folded(kernel_factor, factor, mean)
        quantizer = getattr(self, self.kernel_quantizer_argument)
        kernel = ops.cast(self._quantized(quantizer, kernel), self.compute_dtype)
        x = self._convolve_with(inputs, kernel)
        if correction is not None:
            x = ops.multiply(x, self._along_channels(correction, x))
        bias = self._quantized(self.bias_quantizer, bias)
        x = ops.add(x, self._along_channels(bias, x))
        return self._finish(ops.cast(x, self.compute_dtype), training)

    def _in_inference(self) -> tuple[Any, Any]:
        """Return the mean and the factor of kernel and bias."""
        norm = self.batch_normalization
        factor = self._factor(ops.cast(norm.moving_variance, self._fold_dtype))
        return ops.cast(norm.moving_mean, self._fold_dtype), factor

    def _in_training(self, inputs: Any, mask: Any) -> tuple[Any, Any, Any, Any]:
        """Count the step and update the moving statistics.

        Returns:
            The mean, the factors of bias and kernel, and that of the product, or None.
        """
        norm = self.batch_normalization
        x = self._convolve_with(inputs, self.kernel)
        if self.bias is not None:
            x = ops.add(x, self._along_channels(self.bias, x))
        mean, variance = norm._moments(ops.cast(x, self._fold_dtype), mask)
        batch = self._is_batch_step()
        moving_mean = self._update(norm.moving_mean, mean, batch)
        moving_variance = self._update(norm.moving_variance, variance, batch)
        moving_factor = self._factor(moving_variance)
        factor = ops.where(batch, self._factor(variance), moving_factor)
        mean = ops.where(batch, mean, moving_mean)
        if self.folding_mode == "batch_stats_folding":
            return mean, factor, factor, None
        ratio = ops.sqrt(moving_variance + norm.epsilon)
        ratio = self._factor(variance, ratio)
        return mean, factor, moving_factor, ops.where(batch, ratio, 1.0)

    def _is_batch_step(self) -> Any:
        """Return whether this step uses the batch's statistics, and count it."""
        delay = self.ema_freeze_delay
        batch = True
        if delay is not None and delay >= 0:
            batch = ops.less_equal(ops.convert_to_tensor(self.iteration), delay)
        self.iteration.assign_add(1)
        return batch

    def _update(self, moving: Any, new: Any, batch: Any) -> Any:
        momentum = self.batch_normalization.momentum
        old = ops.cast(moving, self._fold_dtype)
        average = old * momentum + new * (1.0 - momentum)
        average = ops.stop_gradient(ops.where(batch, average, old))
        moving.assign(average)
        return average

    def _along_channels(self, vector: Any, x: Any) -> Any:
        shape = [1] * len(x.shape)
        shape[self._channel_axis] = -1
        return ops.reshape(vector, shape)

    def _factor(self, variance: Any, gamma: Any = None) -> Any:
        """Return `gamma / sqrt(variance + epsilon)`."""
        gamma = self.batch_normalization.gamma if gamma is None else gamma
        gamma = None if gamma is None else ops.cast(gamma, self._fold_dtype)
        variance = variance + self.batch_normalization.epsilon
        return inverse_deviation(variance, gamma, self.inverse)

    def _folded(self, kernel_factor: Any, factor: Any, mean: Any) -> tuple[Any, Any]:
        """Return the folded kernel and bias, before the quantizers."""
        beta = self.batch_normalization.beta
        kernel = ops.cast(self.kernel, self._fold_dtype)
        kernel = self._along_kernel(kernel_factor) * kernel
        bias = 0.0 if self.bias is None else ops.cast(self.bias, self._fold_dtype)
        bias = rounded(factor * (bias - mean))
        return kernel, bias if beta is None else bias + ops.cast(beta, self._fold_dtype)

    def _along_kernel(self, vector: Any) -> Any:
        """Return one number a channel in a shape that multiplies the kernel."""
        return vector

    def folded_kernel_and_bias(self) -> tuple[Any, ...]:
        """Return kernel and bias of inference, before the quantizers.

        Returns:
            float32 numpy arrays of the kernel's shape and of `(channels,)`, with the
            bits that the forward pass hands to the quantizers.
        """
        folded = self._folded_kernel_and_bias()
        return tuple(ops.convert_to_numpy(value) for value in folded)

    def _folded_kernel_and_bias(self) -> tuple[Any, Any]:
        mean, factor = self._in_inference()
        return self._folded(factor, factor, mean)

    def quantize(self, mode: Any = None, **kwargs: Any) -> Any:
        """Refuse Keras's post-training quantization.

        Raises:
            ValueError: Always: Keras would bypass the fold.
        """
        raise ValueError(
            f"Layer {self.name!r} folds batch normalization, which Keras's `quantize` "
            f"would bypass. Received: mode={mode!r}"
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, Keras's and kerasqnn's."""
        config = super().get_config()
        normalization = self.batch_normalization.get_config()
        config |= {name: normalization[name] for name in _NORMALIZATION}
        config["ema_freeze_delay"] = self.ema_freeze_delay
        config["folding_mode"] = self.folding_mode
        config["inverse"] = self.inverse
        return config
