"""The conformance vectors: every operator, attribute and corner."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from onnx import (
    ModelProto,
    StringStringEntryProto,
    TensorAnnotation,
    TensorProto,
    helper,
)

from kerasqnn.qonnx.operators import CHANNELS_LAST_DOMAIN, DOMAIN, ROUNDING_MODES

from . import conformance_formulas as formulas
from .models import model_of

F = np.float32
CORNERS = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38, -3.4e38)


@dataclasses.dataclass(frozen=True)
class Case:
    """One node: its input, parameters, attributes and what must come out."""

    name: str
    op_type: str
    domain: str
    version: int
    attributes: Mapping[str, Any]
    x: np.ndarray
    parameters: Mapping[str, np.ndarray]
    y: np.ndarray

    def model(self) -> ModelProto:
        """Return the model of one node; parameters are initializers."""
        node = helper.make_node(
            self.op_type,
            ["x", *self.parameters],
            ["y"],
            domain=self.domain,
            **self.attributes,
        )
        model = model_of(
            [node],
            dict(self.parameters),
            self.x.shape,
            output_shape=self.y.shape,
            domains={self.domain: self.version},
        )
        entry = StringStringEntryProto(key="finn_datatype", value="FLOAT32")
        annotation = TensorAnnotation(tensor_name="x")  # which qonnx's Im2Col demands
        annotation.quant_parameter_tensor_names.append(entry)
        model.graph.quantization_annotation.append(annotation)
        assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
        return model


def cases() -> Iterator[Case]:
    """Yield all cases, always the same."""
    with np.errstate(all="ignore"):  # infinities are corners
        yield from _quant()
        yield from _bipolar_quant()
        yield from _trunc()
        yield from _float_quant()
        yield from _others()
        yield from _channels_last()


def _case(
    op_type: str,
    formula: Callable[..., np.ndarray],
    x: np.ndarray,
    parameters: Mapping[str, Any] | None = None,
    *,
    label: str = "",
    domain: str = DOMAIN,
    version: int = 1,
    **attributes: Any,
) -> Case:
    given = {k: np.asarray(v, F) for k, v in (parameters or {}).items()}
    y = np.asarray(formula(x, *given.values(), **attributes), F)
    words = [op_type, str(version), *map(str, attributes.values())]
    words += [_word(v) for v in given.values() if v.size < 4] + [label]
    name = "_".join(w for w in words if w).lower().replace(" ", "")
    name = "".join(c if c.isalnum() or c in "_.-" else "" for c in name)
    return Case(name, op_type, domain, version, attributes, x, given, y)


def _word(value: np.ndarray) -> str:
    return "-".join(f"{v:g}" for v in value.ravel())


def _grid(scale: float) -> np.ndarray:
    """Ties and their neighbours, saturation, corners; three channels."""
    ties = np.array([-9.5, -8.5, -8, -7.5, -2.5, -1.5, -1, -0.5, 0.5, 1, 1.5, 2.5, 3.5,
                     7, 7.5, 8, 15.5, 16, 255, 256, -128.5, 127.5], F)  # fmt: skip
    near = [np.nextafter(F(t), F(s)) for t in (-1.5, -0.5, 0.5, 1.5) for s in (-9, 9)]
    rest = [0.3, -0.7, 1.2, 100.0]
    x = np.concatenate([ties, near, rest]).astype(F) * F(scale)
    x = np.concatenate([x, np.array(CORNERS, F)])
    return x.reshape(-1, 3)


def _quant() -> Iterator[Case]:
    for mode, signed, narrow, bits in itertools.product(
        ROUNDING_MODES, (0, 1), (0, 1), (1, 2, 4, 8)
    ):
        parameters = {"scale": 0.25, "zeropt": 0, "bitwidth": bits}
        yield _case("Quant", formulas.quant, _grid(0.25), parameters,
                    signed=signed, narrow=narrow, rounding_mode=mode)  # fmt: skip
    for op_type, scale, zero, signed in itertools.product(
        ("Quant", "IntQuant"), (1.0, 0.3, [0.5, 0.7, 2], [[0.25, 1, 4]]), (0, 3, 0.5),
        (0, 1),
    ):  # fmt: skip
        parameters = {"scale": scale, "zeropt": zero, "bitwidth": 5}
        yield _case(op_type, formulas.quant, _grid(np.max(scale)), parameters,
                    label=f"rank{np.ndim(scale)}", signed=signed, narrow=0,
                    rounding_mode="ROUND")  # fmt: skip


def _bipolar_quant() -> Iterator[Case]:
    for scale in (1.0, 0.3, [0.5, 0.7, 2]):
        yield _case("BipolarQuant", formulas.bipolar_quant, _grid(1), {"scale": scale})


def _trunc() -> Iterator[Case]:
    x = _grid(0.5)
    for mode in ROUNDING_MODES:
        for widths, zero in itertools.product(((8, 4), (5, 5), (3, 6)), (0, 2)):
            parameters = {"scale": 0.5, "zeropt": zero}
            parameters |= {"in_bitwidth": widths[0], "out_bitwidth": widths[1]}
            yield _case("Trunc", formulas.trunc_1, x, parameters, rounding_mode=mode)
        for signed, narrow, (factor, zero) in itertools.product(
            (0, 1), (0, 1), ((1, 0), (4, 0), (3, 2))
        ):
            parameters = {"scale": 0.5, "zeropt": zero, "in_bitwidth": 8}
            parameters |= {"out_scale": 0.5 * factor, "out_bitwidth": 4}
            yield _case("Trunc", formulas.trunc_2, x, parameters, version=2,
                        rounding_mode=mode, signed=signed, narrow=narrow)  # fmt: skip


def _float_quant() -> Iterator[Case]:
    # No infinity, of which the operator makes no number, and nothing just below a power
    # of two, whose logarithm qonnx rounds up.
    fractions = np.array([1, 1.0625, 1.1875, 1.25, 1.375, 1.5, 1.8125, 1.875], F)
    powers = np.exp2(np.array([-20, -9, -7, -6, -2, 0, 3, 8, 9, 14], F))
    x = np.outer(powers, fractions).ravel()
    x = np.concatenate([x, -x, [0, -0.0, np.nan, 1e-45, 1e38, -1e38, 0.3, -17.3]])
    x = x.astype(F).reshape(-1, 3)
    names = ("scale", "exponent_bitwidth", "mantissa_bitwidth", "exponent_bias",
             "max_val")  # fmt: skip
    switches = {"has_inf": 0, "has_nan": 0, "has_subnormal": 1, "saturation": 1}
    formats = {
        "e4m3": (1, 4, 3, 7, 448),
        "e5m2": (1, 5, 2, 15, 57344),
        "e2m1": (0.5, 2, 1, 1, 6),
        "e3m0": (1, 3, 0, 3, 16),
    }
    for (label, values), mode in itertools.product(formats.items(), ROUNDING_MODES):
        if label in ("e2m1", "e3m0") and mode not in ("ROUND", "FLOOR"):
            continue
        given = dict(zip(names, values, strict=True))
        yield _case("FloatQuant", formulas.float_quant, x, given, label=label,
                    rounding_mode=mode, **switches)  # fmt: skip
        if mode == "ROUND" and label != "e3m0":
            for switch in ("has_inf", "has_nan"):
                changed = switches | {switch: 1, "saturation": 0}
                yield _case("FloatQuant", formulas.float_quant, x, given, label=label,
                            rounding_mode=mode, **changed)  # fmt: skip


def _integers(shape: tuple[int, ...], low: int, high: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(F)


def _others() -> Iterator[Case]:
    layouts = {"": (2, 3), "NC": (2, 3), "NWC": (2, 4, 3), "NCHW": (1, 3, 2, 2),
               "NHWC": (1, 2, 2, 3)}  # fmt: skip
    for (layout, shape), channels in itertools.product(layouts.items(), (1, 3)):
        x = _integers(shape, -8, 9, 0) / F(4)
        x.flat[:3] = np.nan, np.inf, -np.inf
        steps = np.sort(_integers((channels, 3), -8, 9, 1) / F(4))
        attributes = {"out_dtype": "INT4", "out_scale": 2.0, "out_bias": -1.5}
        attributes |= {"data_layout": layout} if layout else {}
        yield _case("MultiThreshold", formulas.multi_threshold, x,
                    {"thresholds": steps}, label=f"{channels}channels",
                    **attributes)  # fmt: skip
    for layout, (kernel, stride), (ibits, obits), signed in itertools.product(
        ("NCHW", "NHWC"), ((2, 1), (3, 2)), ((4, 4), (8, 16)), (0, 1)
    ):
        shape = (1, 2, 5, 6) if layout == "NCHW" else (1, 5, 6, 2)
        low = -(2 ** (ibits - 1)) if signed else 0
        yield _case(
            "QuantAvgPool2d", formulas.quant_avg_pool,
            _integers(shape, low, low + 2**ibits, 2),
            stride=stride, kernel=kernel, ibits=ibits, obits=obits, signed=signed,
            data_layout=layout,
        )  # fmt: skip
    images = _integers((1, 4, 5, 2), -99, 99, 3) / F(8)
    for pads, dilations in itertools.product(([0] * 4, [1, 0, 2, 1]), ([1, 1], [1, 2])):
        yield _case(
            "Im2Col", formulas.im2col, images, kernel_size=[2, 3], stride=[2, 1],
            pad_amount=pads, pad_value=3, dilations=dilations, input_shape="(1,4,5,2)",
        )  # fmt: skip
    for kernel, pad in ((2, 0), (3, 1)):
        yield _case(
            "MaxPoolNHWC", formulas.max_pool, images, kernel_shape=[kernel] * 2,
            strides=[2, 1], pads=[pad] * 4, ceil_mode=0,
        )  # fmt: skip
    bits = {"w": _integers((9, 3), 0, 2, 4)}
    yield _case("XnorPopcountMatMul", formulas.xnor_popcount,
                _integers((2, 9), 0, 2, 5), bits)  # fmt: skip
    yield _case("DebugMarker", lambda x, export_debug_name: x, _grid(1),
                export_debug_name="marked")  # fmt: skip


def _channels_last() -> Iterator[Case]:
    x, w = _integers((1, 4, 5, 2), -9, 9, 6), _integers((3, 2, 2, 2), -4, 4, 7)
    window = {"kernel_shape": [2, 2], "strides": [1, 2], "pads": [1, 0, 0, 1]}
    common: dict[str, Any] = {"domain": CHANNELS_LAST_DOMAIN}
    yield _case("Conv", formulas.conv, x, {"w": w}, **window, dilations=[1, 1], group=1,
                **common)  # fmt: skip
    window["pads"] = [1, 1, 1, 1]
    yield _case("MaxPool", formulas.max_pool, x, **window, **common)
    parameters = {"scale": [0.5, 2], "bias": [1, -3], "mean": [-1, 4]}
    parameters |= {"variance": [4, 0.25]}
    yield _case("BatchNormalization", formulas.batch_normalization, x, parameters,
                epsilon=0.0, momentum=0.9, **common | {"version": 14})  # fmt: skip
