"""Layers that merge tensors and quantize the result, with noise."""

from __future__ import annotations

from typing import Any

import keras
from keras.saving import register_keras_serializable

from ._quantized import Noisy, QuantizedLayer


class _QuantizedMerge(QuantizedLayer):
    quantizer_arguments = ("output_quantizer",)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the layer's output."""
        return self._finish(super().call(inputs), training)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the output's shape and dtype, which training does not change."""
        return super().compute_output_spec(inputs)


@register_keras_serializable(package="kerasqnn")
class QuantAdd(_QuantizedMerge, keras.layers.Add):
    """`keras.layers.Add` with a quantized output.

    Formula: `output_quantizer(noise(sum))`, with the sum of all inputs. Sums of values
    on power-of-two grids are exact. Without quantizer and noise the output is bit-
    identical to Keras's layer.

    Args:
        output_quantizer: Quantizer of the sum, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the sum
            before it is quantized. The point is `layer.noise_point`.

    Input shape:
        A list of tensors, of one shape or shapes that broadcast.

    Output shape:
        The inputs' common shape.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantAdd(Noisy, QuantAdd):
    """`QuantAdd` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantSubtract(_QuantizedMerge, keras.layers.Subtract):
    """`keras.layers.Subtract` with a quantized output.

    Formula: `output_quantizer(noise(difference))`, with the first input minus the
    second. Differences of values on power-of-two grids are exact. Without quantizer and
    noise the output is bit-identical to Keras's layer.

    Args:
        output_quantizer: Quantizer of the difference, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the difference
            before it is quantized. The point is `layer.noise_point`.

    Input shape:
        A list of two tensors, of one shape or shapes that broadcast.

    Output shape:
        The inputs' common shape.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantSubtract(Noisy, QuantSubtract):
    """`QuantSubtract` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantMultiply(_QuantizedMerge, keras.layers.Multiply):
    """`keras.layers.Multiply` with a quantized output.

    Formula: `output_quantizer(noise(product))`, with the product of all inputs.
    Products of values on power-of-two grids are exact, while they fit 24 bits. Without
    quantizer and noise the output is bit-identical to Keras's layer.

    Args:
        output_quantizer: Quantizer of the product, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the product
            before it is quantized. The point is `layer.noise_point`.

    Input shape:
        A list of tensors, of one shape or shapes that broadcast.

    Output shape:
        The inputs' common shape.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantMultiply(Noisy, QuantMultiply):
    """`QuantMultiply` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantAverage(_QuantizedMerge, keras.layers.Average):
    """`keras.layers.Average` with a quantized output.

    Formula: `output_quantizer(noise(average))`, with the sum of all inputs over their
    number. Of two, four, ... inputs on power-of-two grids the average is exact; export
    and hardware refuse other numbers of inputs. Without quantizer and noise the output
    is bit-identical to Keras's layer.

    Args:
        output_quantizer: Quantizer of the average, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the average
            before it is quantized. The point is `layer.noise_point`.

    Input shape:
        A list of tensors, of one shape or shapes that broadcast.

    Output shape:
        The inputs' common shape.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantAverage(Noisy, QuantAverage):
    """`QuantAverage` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantMaximum(_QuantizedMerge, keras.layers.Maximum):
    """`keras.layers.Maximum` with a quantized output.

    Formula: `output_quantizer(noise(maximum))`, with the largest of all inputs, element
    by element. The values keep the grids of the inputs. Without quantizer and noise the
    output is bit-identical to Keras's layer.

    Args:
        output_quantizer: Quantizer of the maximum, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the maximum
            before it is quantized. The point is `layer.noise_point`.

    Input shape:
        A list of tensors, of one shape or shapes that broadcast.

    Output shape:
        The inputs' common shape.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantMaximum(Noisy, QuantMaximum):
    """`QuantMaximum` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantMinimum(_QuantizedMerge, keras.layers.Minimum):
    """`keras.layers.Minimum` with a quantized output.

    Formula: `output_quantizer(noise(minimum))`, with the smallest of all inputs,
    element by element. The values keep the grids of the inputs. Without quantizer and
    noise the output is bit-identical to Keras's layer.

    Args:
        output_quantizer: Quantizer of the minimum, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the minimum
            before it is quantized. The point is `layer.noise_point`.

    Input shape:
        A list of tensors, of one shape or shapes that broadcast.

    Output shape:
        The inputs' common shape.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantMinimum(Noisy, QuantMinimum):
    """`QuantMinimum` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantConcatenate(_QuantizedMerge, keras.layers.Concatenate):
    """`keras.layers.Concatenate` with a quantized output.

    Formula: `output_quantizer(noise(concatenation))`, with the inputs one behind the
    other along `axis`. With the quantizer the parts get one common grid. Without
    quantizer and noise the output is bit-identical to Keras's layer.

    Args:
        axis: As Keras.
        output_quantizer: Quantizer of the concatenation, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the concatenation
            before it is quantized. The point is `layer.noise_point`.

    Input shape:
        A list of tensors, of one shape but for `axis`.

    Output shape:
        That of the inputs, with their sizes along `axis` added up.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantConcatenate(Noisy, QuantConcatenate):
    """`QuantConcatenate` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantDot(_QuantizedMerge, keras.layers.Dot):
    """`keras.layers.Dot` with a quantized output.

    Formula: `output_quantizer(noise(product))`, with the dot product of the two inputs
    along `axes`. Sums of products on power-of-two grids are exact, while they fit 24
    bits; with `normalize=True` they are not. Export refuses the layer. Without
    quantizer and noise the output is bit-identical to Keras's layer.

    Args:
        axes: As Keras.
        normalize: As Keras.
        output_quantizer: Quantizer of the product, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the product
            before it is quantized. The point is `layer.noise_point`.

    Input shape:
        A list of two tensors.

    Output shape:
        The axes of both inputs but the multiplied ones.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantDot(Noisy, QuantDot):
    """`QuantDot` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
