"""What all quantized poolings share: noise and quantizer behind the pooled value."""

from __future__ import annotations

from typing import Any

from ._quantized import QuantizedLayer


class QuantizedPooling(QuantizedLayer):
    """Mixin, first in the bases, for Keras's pooling layers of any rank."""

    quantizer_arguments = ("output_quantizer",)

    def _build_at_init(self) -> None:
        """Leave the layer open: Keras's would refuse the noise point."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the layer's output."""
        return self._finish(super().call(inputs), training)


class QuantizedMaskedPooling(QuantizedPooling):
    """The same for a pooling that leaves masked steps out."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the layer's output."""
        # Not `super().call`: the mixin's own call takes no mask.
        outputs = super(QuantizedPooling, self).call(inputs, mask=mask)
        return self._finish(outputs, training)
