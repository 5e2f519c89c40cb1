"""HGQ2's quantizers, from their configurations and widths, as kerasqnn's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import unknown_name
from ..quantizers import FixedPoint, HeterogeneousFixedPoint
from ..quantizers.exact_grids import grid_of_values
from ..quantizers.heterogeneous_fixed_point import AP_ROUNDING_MODES
from .description import LayerDescription

_ORDERS = {"kif": ("k", "i", "f"), "kbi": ("k", "b", "i")}  # as they are made
_OVERFLOWS = ("SAT", "SAT_SYM", "WRAP")
_MAPPER = "DefaultBitwidthMapper"


@dataclass(frozen=True)
class Widths:
    """What a fixed-point quantizer of HGQ2 does.

    Attributes:
        k: 1 where there are negative values.
        i: Bits before the point, sign excluded; of the shape of `k`.
        f: Bits behind it, of the shape of `k`.
        rounding: One of `AP_ROUNDING_MODES`.
        overflow: `"SAT"`, `"SAT_SYM"` or `"WRAP"`.
        is_weight: Whether HGQ2 wraps only what is not trained.
    """

    k: np.ndarray
    i: np.ndarray
    f: np.ndarray
    rounding: str
    overflow: str
    is_weight: bool = False

    def quantizer(self) -> HeterogeneousFixedPoint:
        """Return the quantizer, with numbers instead of arrays of equal numbers."""
        k, i, f = (v.flat[0] if np.all(v == v.flat[0]) else v for v in self._arrays())
        if any(np.ndim(v) for v in (k, i, f)):
            k, i, f = self._arrays()
        return HeterogeneousFixedPoint(
            i, f, signed=k, rounding=self.rounding, overflow=self.overflow
        )

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # Elements without bits are 0, whatever their widths, which no grid may bear.
        none = self.k + self.i + self.f <= 0
        return self.k, np.where(none, 0, self.i), np.where(none, -1, self.f)


def widths_of(layer: LayerDescription, argument: str, part: str) -> Widths | None:
    """Return what a quantizer of a layer does.

    Args:
        layer: The layer.
        argument: Name of its configuration in that of the layer.
        part: Where its variables are among the weights of the layer.

    Returns:
        The widths; None where the layer has no such quantizer.

    Raises:
        UnsupportedModelError: If it is no fixed-point quantizer, or scales.
    """
    found = layer.config.get(argument)
    if found is None:
        return None
    config, overflow = found["config"], None
    if found["class_name"] == "HardTanhConfig":
        overflow = "SAT"  # as it is saved, and so loaded
    elif found["class_name"] != "QuantizerConfig":
        raise layer.refused(
            f"{argument}: its quantizer is a {found['class_name']}, which scales what "
            "it has rounded. Train with QuantizerConfig."
        )
    kind = config["q_type"]
    if kind == "dummy":
        return None
    if kind not in _ORDERS:
        raise layer.refused(f"{argument}: {unknown_name('`q_type`', kind, _ORDERS)}")
    for name in ("scaler", "affine"):
        if config.get(name) is not None:
            raise layer.refused(
                f"{argument}: it scales its values besides rounding them. Train with "
                f"{name}=None. Received: {name}={config[name]!r}"
            )
    _check_mapper(layer, argument, config)
    overflow = overflow or str(config["overflow_mode"]).upper()
    rounding = str(config["round_mode"]).upper().removeprefix("S_")  # in training only
    if overflow not in _OVERFLOWS:
        message = unknown_name("`overflow_mode`", overflow, _OVERFLOWS)
        raise layer.refused(f"{argument}: {message}")
    if rounding not in AP_ROUNDING_MODES:
        message = unknown_name("`round_mode`", rounding, AP_ROUNDING_MODES)
        raise layer.refused(f"{argument}: {message}")
    k, i, f = _variables(layer, part, kind, overflow)
    return Widths(k, i, f, rounding, overflow, bool(config["is_weight"]))


def _check_mapper(
    layer: LayerDescription, argument: str, config: Mapping[str, Any]
) -> None:
    mapper = config.get("bw_mapper")
    if mapper is not None and mapper.get("class_name") != _MAPPER:
        raise layer.refused(
            f"{argument}: only the default bw_mapper is taken over. "
            f"Received: bw_mapper={mapper!r}"
        )


def _variables(
    layer: LayerDescription, part: str, kind: str, overflow: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `k`, `i` and `f`: HGQ2 rounds the other two, half to even.

    Keras saves what is trained first; `k` alone is of integers.
    """
    given = {
        key.rpartition("/")[2]: value
        for key, value in layer.weights.items()
        if key.rpartition("/")[0] == part
    }
    names = _ORDERS[kind]
    trained = [n for n in names if n != "k" and (n != "i" or overflow != "WRAP")]
    order = [*trained, *(n for n in names if n not in trained)]
    found = {n: given.get(str(number)) for number, n in enumerate(order)}
    shapes = {None if v is None else v.shape for v in found.values()}
    k = found["k"]
    if k is None or len(shapes) > 1 or k.dtype != np.uint8:
        raise layer.refused(
            f"the variables of its quantizer {part!r} are not those that HGQ2 saves. "
            f"Allowed: {order}. Received: {sorted(given)}"
        )
    whole = {n: np.rint(v).astype(np.int64) for n, v in found.items() if v is not None}
    f = whole["f"] if kind == "kif" else whole["b"] - whole["i"]
    return whole["k"], whole["i"], f


def activation_quantizer(
    layer: LayerDescription, argument: str, part: str
) -> HeterogeneousFixedPoint | FixedPoint | None:
    """Return the quantizer of an activation, or None.

    Raises:
        UnsupportedModelError: If it has no exact counterpart.
    """
    widths = widths_of(layer, argument, part)
    if widths is None:
        return None
    shape = widths.k.shape
    if shape[:1] not in ((), (1,)):
        raise layer.refused(
            f"{argument}: it has bits of its own for each sample of a batch. Train "
            f"with homogeneous_axis=(0,). Received: widths of shape {shape}"
        )
    if shape:
        k, i, f = (v[0] for v in (widths.k, widths.i, widths.f))
        widths = Widths(k, i, f, widths.rounding, widths.overflow)
    try:
        found = widths.quantizer()
    except ValueError as error:
        raise layer.refused(f"{argument}: {error}") from error
    grid = found.fixed()
    return grid if isinstance(grid, FixedPoint) else found


def quantized_weight(
    layer: LayerDescription, argument: str, part: str, values: np.ndarray
) -> tuple[np.ndarray, FixedPoint | None]:
    """Return a weight and the quantizer that gives HGQ2's values of it.

    With one width for all elements the weight stays as it is, as does the quantizer;
    else it is the quantized one, and the quantizer the grid that holds it.

    Raises:
        UnsupportedModelError: If no grid of 24 bits holds the values, or HGQ2 gives
            different ones at different times.
    """
    widths = widths_of(layer, argument, part)
    if widths is None:
        return values, None
    try:
        exact = widths.quantizer()
        quantized = exact.quantize(values)
    except ValueError as error:
        raise layer.refused(f"{argument}: {error}") from error
    _check_wrapping(layer, argument, widths, values, quantized)
    uniform = exact._uniform("ROUND")
    if uniform is not None and np.array_equal(uniform.quantize(values), quantized):
        return values, uniform
    grid = grid_of_values(quantized, 24)
    if grid is None:
        raise layer.refused(
            f"{argument}: no grid of 24 bits holds the quantized values. Train with "
            "fewer bits, or less different ones."
        )
    return quantized, grid


def _check_wrapping(
    layer: LayerDescription,
    argument: str,
    widths: Widths,
    values: np.ndarray,
    quantized: np.ndarray,
) -> None:
    """Refuse weights that HGQ2 wraps only if they are not trained."""
    if widths.overflow != "WRAP" or not widths.is_weight:
        return
    step = np.ldexp(np.float32(1), np.asarray(-widths.f, np.int32))
    wide = HeterogeneousFixedPoint(23, 0, rounding=widths.rounding)
    if not np.array_equal(wide.quantize(values / step) * step, quantized):
        raise layer.refused(
            f"{argument}: a weight leaves the range of its bits, and whether HGQ2 "
            "wraps it depends on what is trained. Train with overflow_mode='SAT_SYM'."
        )
