"""What the Keras exporter that qonnx once had got wrong: a QKeras model a feature.

`python -m tests.export.old_exporter` prints the table of docs/qonnx.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import qkeras as qk
from keras import layers as kl

WRONG, REFUSED = "a wrong model", "refused"
BITS = "quantized_bits(4,0,1,alpha=1)"
ACTIVATION = "quantized_bits(6,1,1,alpha=1)"
IMAGE = (6, 6, 2)
SEQUENCE = (3, 4)


@dataclass(frozen=True)
class Row:
    """A feature of QKeras models.

    Attributes:
        feature: What it is, for the table.
        before: What qonnx's exporter made of it.
        layers: Returns layers that have it, behind a quantized input.
        shape: Of the input.
        refused: What export refuses it for; the empty string if it is exact.
        note: What the table says about the refusal.
    """

    feature: str
    before: str
    layers: Callable[[], list[Any]]
    shape: tuple[int, ...] = (6,)
    refused: str = ""
    note: str = ""

    def model(self) -> keras.Model:
        """Return a model with random weights."""
        model = keras.Sequential(
            [keras.Input(self.shape), qk.QActivation(ACTIVATION), *self.layers()]
        )
        random = np.random.default_rng(3)
        for variable in model.weights:
            is_variance = "variance" in variable.name
            low, high = (0.5, 2.0) if is_variance else (-1.5, 1.5)
            variable.assign(random.uniform(low, high, variable.shape))
        return model

    def inputs(self) -> np.ndarray:
        """Return random inputs, near zero and beyond the range of the quantizer."""
        values = np.random.default_rng(0).normal(0, 1.2, (12, *self.shape))
        return values.astype(np.float32)


def _dense(kernel: str = BITS, **options: Any) -> Any:
    return qk.QDense(3, kernel_quantizer=kernel, bias_quantizer=BITS, **options)


def _behind(activation: str) -> Callable[[], list[Any]]:
    """Return an activation between two layers."""

    def layers() -> list[Any]:
        return [_dense(), qk.QActivation(activation), _dense()]

    return layers


def _kernel(quantizer: str) -> Callable[[], list[Any]]:
    return lambda: [_dense(quantizer)]


_PLAIN = {"kernel_quantizer": BITS, "bias_quantizer": BITS}
_RECURRENT = {
    **_PLAIN,
    "recurrent_quantizer": BITS,
    "state_quantizer": BITS,
    "activation": "quantized_tanh(4)",
}
_GATED = {**_RECURRENT, "recurrent_activation": "quantized_sigmoid(4)"}
_AVERAGE = {
    "average_quantizer": "quantized_bits(6,0,1,alpha=1)",
    "activation": ACTIVATION,
}
_FLOAT = "in floating point"
_TRANSCENDENTAL = "exponentials differ between tools; see `TableFunction`"

ROWS = (
    Row("`QActivation(quantized_bits)` at the input", WRONG, lambda: [_dense()]),
    Row("`QActivation(quantized_bits)` between layers", WRONG, _behind(ACTIVATION)),
    Row("`QActivation(binary)`, `alpha=1`", WRONG, _behind("binary(alpha=1)")),
    Row("`QActivation(binary)`, default", WRONG, _behind("binary()")),
    Row(
        "`QActivation(ternary)`, `alpha=1`",
        WRONG,
        _behind("ternary(alpha=1,threshold=0.5)"),
    ),
    Row("`QActivation(ternary)`, default", WRONG, _behind("ternary()")),
    Row("`quantized_tanh`", WRONG, _behind("quantized_tanh(4)")),
    Row("`quantized_sigmoid`", WRONG, _behind("quantized_sigmoid(4)")),
    Row(
        "`quantized_tanh(use_real_tanh=True)`",
        WRONG,
        _behind("quantized_tanh(4,use_real_tanh=True)"),
        refused=f"tanh {_FLOAT}",
        note=_TRANSCENDENTAL,
    ),
    Row(
        "`quantized_sigmoid(use_real_sigmoid=True)`",
        WRONG,
        _behind("quantized_sigmoid(4,use_real_sigmoid=True)"),
        refused=f"sigmoid {_FLOAT}",
        note=_TRANSCENDENTAL,
    ),
    Row(
        "`quantized_relu(negative_slope=...)`",
        WRONG,
        _behind("quantized_relu(4,1,negative_slope=0.25)"),
    ),
    Row(
        "`LeakyReLU`",
        WRONG,
        lambda: [_dense(), kl.LeakyReLU(negative_slope=0.25), _dense()],
    ),
    Row(
        "`ZeroPadding2D` before a convolution",
        WRONG,
        lambda: [kl.ZeroPadding2D(((1, 0), (2, 1))), qk.QConv2D(3, 3, **_PLAIN)],
        IMAGE,
    ),
    Row("kernel with `alpha=0.5`", WRONG, _kernel("quantized_bits(4,0,1,alpha=0.5)")),
    Row(
        "kernel with `alpha=None`, which is `auto_po2`",
        WRONG,
        _kernel("quantized_bits(4,0,1)"),
    ),
    Row(
        "kernel with `alpha='auto_po2'`",
        WRONG,
        _kernel("quantized_bits(4,0,1,alpha='auto_po2')"),
    ),
    Row(
        "kernel with `alpha='auto'`",
        WRONG,
        _kernel("quantized_bits(4,0,1,alpha='auto')"),
        refused="bits for its sums",
        note="a sum with scales that are no powers of two rounds, in another way in "
        "every tool",
    ),
    Row("kernel of `quantized_po2`", WRONG, _kernel("quantized_po2(4,1)")),
    Row("`QActivation(quantized_po2)`", WRONG, _behind("quantized_po2(4,1)")),
    Row("`QActivation(quantized_relu_po2)`", WRONG, _behind("quantized_relu_po2(4,1)")),
    Row("kernel of `ternary`, default", WRONG, _kernel("ternary()")),
    Row("kernel of `binary`, default", WRONG, _kernel("binary()")),
    Row(
        "`QDepthwiseConv2D`",
        REFUSED,
        lambda: [qk.QDepthwiseConv2D(3, depthwise_quantizer=BITS, bias_quantizer=BITS)],
        IMAGE,
    ),
    Row(
        "`QSeparableConv2D`",
        REFUSED,
        lambda: [
            qk.QSeparableConv2D(
                3,
                3,
                depthwise_quantizer=BITS,
                pointwise_quantizer=BITS,
                bias_quantizer=BITS,
            )
        ],
        IMAGE,
    ),
    Row(
        "`QAveragePooling2D`",
        REFUSED,
        lambda: [qk.QAveragePooling2D(2, **_AVERAGE)],
        IMAGE,
    ),
    Row(
        "`QGlobalAveragePooling2D`",
        REFUSED,
        lambda: [qk.QGlobalAveragePooling2D(**_AVERAGE)],
        IMAGE,
    ),
    Row(
        "`QConv2DBatchnorm`",
        REFUSED,
        lambda: [qk.QConv2DBatchnorm(3, 3, **_PLAIN)],
        IMAGE,
    ),
    Row(
        "`QDepthwiseConv2DBatchnorm`",
        REFUSED,
        lambda: [
            qk.QDepthwiseConv2DBatchnorm(
                3, depthwise_quantizer=BITS, bias_quantizer=BITS
            )
        ],
        IMAGE,
    ),
    Row(
        "`QSimpleRNN`",
        REFUSED,
        lambda: [qk.QSimpleRNN(3, **_RECURRENT)],
        SEQUENCE,
    ),
    Row(
        "`QLSTM`",
        REFUSED,
        lambda: [qk.QLSTM(3, **_GATED)],
        SEQUENCE,
    ),
    Row(
        "`QGRU`",
        REFUSED,
        lambda: [qk.QGRU(3, **_GATED)],
        SEQUENCE,
    ),
    Row(
        "a model within the model",
        REFUSED,
        lambda: [keras.Sequential([keras.Input((6,)), _dense()]), _dense()],
    ),
)


def table() -> str:
    """Return the table of docs/qonnx.md."""
    lines = ["| feature | qonnx 0.4 | `export_qonnx` |", "|---|---|---|"]
    for row in ROWS:
        now = f"refused: {row.note}" if row.refused else "exact"
        lines.append(f"| {row.feature} | {row.before} | {now} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
