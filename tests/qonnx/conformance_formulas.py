"""What QONNX's operators compute, written down from their specification in numpy.

Elementwise operators compute in float32, one operation after the other. No line is
shared with the executors that these formulas judge.
"""

from __future__ import annotations

import itertools

import numpy as np

F = np.float32


def rounded(x, mode):
    """Round to an integer."""
    half = F(0.5)
    return {
        "ROUND": np.rint,
        "HALF_EVEN": np.rint,
        "CEIL": np.ceil,
        "FLOOR": np.floor,
        "DOWN": np.trunc,
        "UP": lambda x: np.where(x >= 0, np.ceil(x), np.floor(x)),
        "HALF_UP": lambda x: np.where(x >= 0, np.floor(x + half), np.ceil(x - half)),
        "HALF_DOWN": lambda x: np.where(x >= 0, np.ceil(x - half), np.floor(x + half)),
    }[mode](x)


def clamped(y, bits, signed, narrow):
    """Clamp to the codes of a width; NaN stays NaN."""
    low = (-(2.0 ** (bits - 1)) + narrow) if signed else 0.0
    high = 2.0 ** (bits - 1) - 1 if signed else 2.0**bits - 1 - narrow
    return np.clip(y, F(low), F(high))


def quant(x, scale, zeropt, bitwidth, *, signed, narrow, rounding_mode):
    """Divide, shift, clamp, round, and back; one signed bit is bipolar."""
    y = x / scale + zeropt
    if signed and bitwidth == 1:
        y = np.where(y >= 0, F(1), F(-1))
    else:
        y = rounded(clamped(y, float(bitwidth), signed, narrow), rounding_mode)
    return (y - zeropt) * scale


def bipolar_quant(x, scale):
    """Plus or minus the scale."""
    return np.where(x >= 0, F(1), F(-1)) * scale


def trunc_1(x, scale, zeropt, in_bitwidth, out_bitwidth, *, rounding_mode):
    """Shift right by the difference of the widths."""
    y = np.rint(x / scale + zeropt) / F(2) ** (in_bitwidth - out_bitwidth)
    return (rounded(y, rounding_mode) - zeropt) * scale


def trunc_2(x, scale, zeropt, in_bitwidth, out_scale, out_bitwidth, *, rounding_mode,
            signed=1, narrow=0):  # fmt: skip
    """Shift right by the ratio of the scales, clamp, and give the new scale."""
    shift = F(2.0 ** round(float(np.log2(out_scale / scale))))
    y = np.rint(x / scale + zeropt) / shift
    y = rounded(clamped(y, float(out_bitwidth), signed, narrow), rounding_mode)
    return (y - zeropt / shift) * out_scale


def float_quant(
    x,
    scale,
    exponent_bitwidth,
    mantissa_bitwidth,
    exponent_bias,
    max_val,
    *,
    rounding_mode,
    has_inf,
    has_nan,
    has_subnormal,
    saturation,
):
    """Round to as many bits behind the leading one; saturate, or give inf or NaN."""
    y = x / scale
    exponent = np.frexp(y)[1] - 1  # floor(log2|y|), exactly
    exponent = np.maximum(np.where(y == 0, -126, exponent), 1 - int(exponent_bias))
    step = np.exp2(F(exponent) - mantissa_bitwidth)
    y = step * rounded(y / step, rounding_mode)
    largest = (2 - 2.0**-mantissa_bitwidth) * 2.0 ** (
        2.0**exponent_bitwidth - 1 - exponent_bias
    )
    largest = F(min(largest, max_val))
    beyond = np.abs(y) > largest
    y = np.clip(y, -largest, largest)
    if not saturation:
        y = np.where(beyond, np.sign(y) * F(np.inf if has_inf else np.nan), y)
    return y * scale


def multi_threshold(x, thresholds, *, out_scale=1.0, out_bias=0.0, data_layout="",
                    out_dtype=""):  # fmt: skip
    """Count the thresholds of its channel that each value reaches."""
    layout = data_layout or {2: "NC", 3: "NWC", 4: "NCHW"}[x.ndim]
    y = np.zeros(x.shape, F)
    for index in np.ndindex(x.shape):
        channel = index[layout.index("C")] if len(thresholds) > 1 else 0
        y[index] = sum(x[index] >= t for t in thresholds[channel])
    return F(out_scale) * y + F(out_bias)


def windows(x, kernel, stride, pads=(0, 0, 0, 0), fill=0.0, dilation=(1, 1)):
    """Yield the place and the content of each window of images, channels last."""
    (top, left, bottom, right), (kh, kw) = pads, kernel
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    rows = range(0, x.shape[1] - dilation[0] * (kh - 1), stride[0])
    columns = range(0, x.shape[2] - dilation[1] * (kw - 1), stride[1])
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        part = x[:, row :: dilation[0], column :: dilation[1]][:, :kh, :kw]
        yield (i, j), part


def over_windows(function, x, *arguments, **options):
    """Put together what a function gives for each window."""
    results = {at: function(part) for at, part in windows(x, *arguments, **options)}
    rows, columns = (max(at[k] for at in results) + 1 for k in (0, 1))
    return np.stack(
        [np.stack([results[i, j] for j in range(columns)], 1) for i in range(rows)], 1
    ).astype(F)


def quant_avg_pool(x, *, kernel, stride, ibits, obits, signed, data_layout):
    """Integer sums of windows, shifted right to `obits` bits."""
    shift = max(((2**ibits - 1) * kernel * kernel).bit_length() - obits, 0)

    def pool(part):
        return part.astype(int).sum((1, 2)) >> shift

    if data_layout == "NHWC":
        return over_windows(pool, x, [kernel] * 2, [stride] * 2)
    last = over_windows(pool, np.moveaxis(x, 1, 3), [kernel] * 2, [stride] * 2)
    return np.moveaxis(last, 3, 1)


def max_pool(x, *, kernel_shape, strides, pads, ceil_mode=0):
    """The largest number of each window."""
    return over_windows(
        lambda part: part.max((1, 2)), x, kernel_shape, strides, pads, -np.inf
    )


def im2col(x, *, kernel_size, stride, pad_amount, pad_value, dilations, input_shape):
    """Windows side by side, row by row, then channels."""
    return over_windows(
        lambda part: part.reshape(len(part), -1),
        x, kernel_size, stride, pad_amount, pad_value, dilations,
    )  # fmt: skip


def xnor_popcount(x, w):
    """How many bits of a row and a column agree."""
    return (x[..., None] == w).sum(-2).astype(F)


def conv(x, w, *, kernel_shape, strides, pads, dilations, group):
    """Convolution, channels last; filters are `(out, height, width, in)`."""
    return over_windows(
        lambda part: np.einsum("nhwi,ohwi->no", part, w),
        x, kernel_shape, strides, pads, 0, dilations,
    )  # fmt: skip


def batch_normalization(x, scale, bias, mean, variance, *, epsilon, momentum):
    """Normalization by recorded statistics, channels last."""
    return (x - mean) / np.sqrt(variance + F(epsilon)) * scale + bias
