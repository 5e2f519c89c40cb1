"""What all quantized convolutions share: the bias, the noise, the activation."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from keras import ops

from ._quantized import QuantizedLayer


class QuantizedConvolution(QuantizedLayer):
    """Mixin, first in the bases, for Keras's convolutions of any rank."""

    @abstractmethod
    def _convolve(self, inputs: Any) -> Any:
        """Return the convolution with quantized kernels, without the bias."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the layer's output."""
        x = self._convolve(inputs)
        if self.bias is not None:
            bias = self._quantized(self.bias_quantizer, self.bias)
            if self.data_format == "channels_first":
                bias = ops.reshape(bias, (1, -1, *[1] * self.rank))
            x = ops.add(x, bias)
        return self._finish(x, training)
