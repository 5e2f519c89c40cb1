"""Rules on scale, zero point and bit width."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from ...operators import integer_bounds
from ..draft import Draft
from ..facts import QUANTS, Facts, flag_of, is_power_of_two
from ..registry import ERROR, SILENT, WARNING, Hit, rule


def show(value: np.ndarray) -> str:
    """Return an array in short."""
    return np.array2string(value, threshold=6, edgeitems=2)


def values(facts: Facts, *names: str) -> Iterator[tuple[NodeProto, str, np.ndarray]]:
    """Yield the constant parameters of QONNX operators, those of these names."""
    for node in facts.quantizers():
        for name, tensor in facts.parameters(node):
            value = facts.value(tensor)
            if value is not None and value.dtype.kind in "fiu":
                if not names or name in names:
                    yield node, name, value


_WIDTHS = ("bitwidth", "in_bitwidth", "out_bitwidth", "exponent_bitwidth",
           "mantissa_bitwidth")  # fmt: skip


_NO_NUMBERS = (TensorProto.STRING, TensorProto.BOOL, TensorProto.COMPLEX64,
               TensorProto.COMPLEX128)  # fmt: skip


def _change(draft: Draft, hit: Hit, change: type[np.float32] | str) -> None:
    """Give a node's parameter a tensor of its own with another type or shape."""
    if hit.node is None:
        return
    place = draft.facts.input_names(hit.node).index(hit.where)
    value = draft.facts.value(hit.node.input[place])
    if value is None:
        return
    new = value.reshape(()) if change == "scalar" else value.astype(np.float32)
    hit.node.input[place] = draft.constant(f"{hit.node.input[place]}_mended", new)


def _as_float32(draft: Draft, hit: Hit) -> None:
    _change(draft, hit, np.float32)


@rule(
    "parameter-type", {"qonnx": WARNING, "finn": WARNING},
    "A parameter is not float32", "numpy, and so qonnx, goes on in float64; ONNX "
    "Runtime refuses mixed types", "Store it as float32", _as_float32,
)  # fmt: skip
def parameter_type(facts: Facts) -> Iterator[Hit]:
    """qonnx: `int_quant` computes with the arrays as they are.

    In float32 the numbers are the same for bit widths, zero points of 0, and scales of
    one power of two that is at most 1.
    """
    for node, name, value in values(facts):
        if value.dtype == np.float32:
            continue
        same = bool(np.all(value.astype(np.float32) == value))
        if name == "zeropt":
            same = not np.any(value)
        elif name not in _WIDTHS:
            same = is_power_of_two(value) and bool(np.all(value <= 1))
        fixable = same and node.op_type in (*QUANTS, "BipolarQuant")
        yield Hit(node, name, str(value.dtype), fixable)


@rule(
    "parameter-not-a-number", ERROR, "A parameter holds no real numbers",
    "No consumer can compute with it", "Store it as float32",
)  # fmt: skip
def parameter_not_a_number(facts: Facts) -> Iterator[Hit]:
    """qonnx: `int_quant` divides by the array as it is, a TypeError of numpy's."""
    for node in facts.quantizers():
        for name, tensor in facts.parameters(node):
            value = facts.initializers.get(tensor)
            if value is not None and value.data_type in _NO_NUMBERS:
                yield Hit(node, name, TensorProto.DataType.Name(value.data_type))


@rule(
    "parameter-not-constant", {"qonnx": WARNING, "hls4ml": ERROR, "finn": ERROR},
    "A parameter depends on the model's input", "qonnx infers no data type for it; the "
    "others need constants", "Fix the parameter after calibration",
)  # fmt: skip
def parameter_not_constant(facts: Facts) -> Iterator[Hit]:
    """hls4ml: "only supports constant scale, zeropt, and bitwidth values"."""
    for node in facts.quantizers():
        for name, tensor in facts.parameters(node):
            if tensor and tensor not in facts.static:
                yield Hit(node, name, tensor)


@rule(
    "bitwidth-per-channel", ERROR, "There is more than one bit width",
    "QONNX has one a quantizer", "Split the tensor into one quantizer a bit width",
)  # fmt: skip
def bitwidth_per_channel(facts: Facts) -> Iterator[Hit]:
    """qonnx: `if bitwidth == 1` is ambiguous; hls4ml: "Only scalar bitwidth"."""
    for node, name, value in values(facts, *_WIDTHS):
        if value.size != 1:
            yield Hit(node, name, show(value))


def _as_scalar(draft: Draft, hit: Hit) -> None:
    _change(draft, hit, "scalar")


@rule(
    "bitwidth-not-scalar", {"qonnx": WARNING, "finn": WARNING},
    "The bit width is an array of one number",
    "qonnx infers FLOAT32 in place of the integer type; the QCDQ converter leaves it",
    "Store it with the shape ()", _as_scalar,
)  # fmt: skip
def bitwidth_not_scalar(facts: Facts) -> Iterator[Hit]:
    """qonnx: `IntQuant.get_output_dtype` asserts `ndim == 0`, caught as FLOAT32."""
    for node, name, value in values(facts, "bitwidth"):
        if value.size == 1 and value.ndim:
            rank = len(facts.shapes.get(node.input[0], ()))
            yield Hit(node, name, f"shape {value.shape}", rank >= value.ndim)


@rule(
    "bitwidth-invalid", ERROR, "The bit width is not a positive number",
    "Bounds of such a width mean nothing", "Give it 1 bit or more",
)  # fmt: skip
def bitwidth_invalid(facts: Facts) -> Iterator[Hit]:
    """qonnx: `max_int` computes 2**bits - 1 with any number."""
    for node, name, value in values(facts, *_WIDTHS):
        if not np.all(np.isfinite(value) & (value > 0)):
            yield Hit(node, name, show(value))


@rule(
    "bitwidth-fractional", {"qonnx": WARNING, "hls4ml": SILENT, "finn": ERROR},
    "The bit width is not an integer",
    "qonnx clamps at 2**bits - 1; hls4ml rounds the width up; others refuse",
    "Use an integer",
)  # fmt: skip
def bitwidth_fractional(facts: Facts) -> Iterator[Hit]:
    """hls4ml: `math.ceil(bitwidth)` in `quant_opt.py`."""
    for node, name, value in values(facts, *_WIDTHS):
        if np.any(np.isfinite(value) & (value != np.floor(value))):
            yield Hit(node, name, show(value))


@rule(
    "bitwidth-inexact", {"qonnx": SILENT, "finn": SILENT},
    "float32 does not hold the bounds of so many bits",
    "The largest code is one too high", "Use at most 24 bits, or 25 with a sign",
)  # fmt: skip
def bitwidth_inexact(facts: Facts) -> Iterator[Hit]:
    """qonnx: `max_int` computes 2**bits - 1 in the type of the bit width."""
    for node, name, value in values(facts, "bitwidth"):
        if value.size == 1 and 0 < value.item() < 1000 and node.op_type in QUANTS:
            signs = flag_of(node, "signed"), flag_of(node, "narrow")
            exact = integer_bounds(*signs, np.asarray(value.item(), np.float64))
            low, high = (int(b.item()) for b in exact)
            if max(high, -low).bit_length() > 24 and (high % 2 or low % 2):
                yield Hit(node, name, show(value))


@rule(
    "scale-not-positive", ERROR, "A scale is zero, negative or no number",
    "qonnx divides by it and returns NaN, or flips codes; hls4ml has no type for it",
    "Use finite, positive scales",
)  # fmt: skip
def scale_not_positive(facts: Facts) -> Iterator[Hit]:
    """qonnx: `int_quant` divides without looking."""
    for node, name, value in values(facts, "scale", "out_scale"):
        if not np.all(np.isfinite(value) & (value > 0)):
            yield Hit(node, name, show(value))


@rule(
    "zero-point-not-finite", ERROR, "A zero point is no finite number",
    "Every output is NaN or saturates", "Use a finite zero point",
)  # fmt: skip
def zero_point_not_finite(facts: Facts) -> Iterator[Hit]:
    """qonnx: `int_quant` adds it without looking."""
    for node, name, value in values(facts, "zeropt"):
        if not np.all(np.isfinite(value)):
            yield Hit(node, name, show(value))
