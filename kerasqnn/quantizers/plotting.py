"""Plots of quantizers: the value, and the gradient that training uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .parsing import AnyQuantizer, get
from .sampling import detached, scale_follows_values, values, values_and_gradient

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VALUE_COLOUR, TRAINED_COLOUR, GRADIENT_COLOUR = "#1b5299", "#4aa3df", "#e0701b"
_SAMPLES = 2001  # odd, so that a symmetric range has its zero
_EVERY = 8  # of the values in training that are drawn as dots
_ROOM = 1.25  # shown, in units of where the quantizer saturates
_UNBOUNDED = 4.0  # shown of a quantizer that does not saturate
# Where it is looked for; further out than any number that a plot could show.
_PROBES = 2.0 ** np.arange(-8, 34, dtype=np.float32)


def plot_quantizer(
    quantizer: Any,
    low: float | None = None,
    high: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the values of a quantizer and the gradient that training uses.

    Solid: the value `y(x)` of inference. Dashed: `dy/dx` as the Keras backend computes
    it in training, of `sum(y)`, scale and other variables held. Dots: the values in
    training, where these are others (drawn, or not yet fully quantized). Dotted lines
    across: from where on the value never changes again (with one channel).

    The quantizer gets 2001 numbers from `low` to `high` in one call, as one channel;
    one whose scale follows from the values has the scale of these. A quantizer with
    one scale a channel has one line a channel, and a softmax is that of `x` and 0.
    Nothing in it changes: one with variables is copied, one not yet built is built for
    these numbers and stands where training starts.

    Args:
        quantizer: A quantizer, or anything that `kerasqnn.quantizers.get` takes.
        low: Smallest `x`; None for minus the largest.
        high: Largest `x`; None for minus `low` or, without one, 1.25 times the power
            of two from which on the quantizer saturates, 1 if its scale follows from
            the values, and 4 if it never saturates.
        ax: Axes to draw on; a new figure if None.

    Returns:
        The axes.

    Raises:
        TypeError: If `quantizer` is None or no quantizer, or `ax` is no Axes.
        ValueError: If the string names no quantizer, or `low` and `high` no range.
        NotImplementedError: If the Keras backend is not TensorFlow, JAX or torch.

    Example:

    >>> from kerasqnn.quantizers import plot_quantizer
    >>> ax = plot_quantizer("quantized_relu(3,1)", -1.0, 3.0)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['value y', 'gradient dy/dx']
    """
    from matplotlib.axes import Axes

    resolved = get(quantizer)
    if resolved is None:
        raise TypeError(
            "`quantizer` must be a quantizer or a string such as "
            "'quantized_bits(4,0,1)'. Received: quantizer=None"
        )
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be a matplotlib Axes or None. Received: ax={ax!r}")
    shown = detached(resolved)
    low, high = _range(shown, low, high)
    x = np.linspace(low, high, _SAMPLES, dtype=np.float32)
    inferred, (trained, gradient) = values(shown, x), values_and_gradient(shown, x)
    borders = [] if inferred.shape[1] > 1 else _saturation(shown, x, inferred[:, 0])
    ax = _new_axes() if ax is None else ax
    _draw(ax, x, inferred, trained, gradient, borders)
    title = quantizer if isinstance(quantizer, str) else type(resolved).__name__
    ax.set(title=title, xlabel="x", xlim=(low, high))
    ax.legend(fontsize="small", framealpha=0.85, edgecolor="none")
    return ax


# -- the range -------------------------------------------------------------------------


def _range(
    quantizer: AnyQuantizer, low: float | None, high: float | None
) -> tuple[float, float]:
    """Return the limits of `x`, or raise."""
    first, last = low, high
    if all(v is None or _is_number(v) for v in (low, high)):
        if last is None:
            last = _half_width(quantizer) if first is None else -first
        first = -last if first is None else first
        if np.float32(first) < np.float32(last):
            return float(first), float(last)
    raise ValueError(
        "`low` and `high` must be finite numbers, `low` below `high`; one alone is "
        f"mirrored for the other. Received: low={low!r}, high={high!r}"
    )


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number and abs(float(value)) <= float(np.finfo(np.float32).max)


def _half_width(quantizer: AnyQuantizer) -> float:
    """Return how far to both sides of zero the plot reaches."""
    if scale_follows_values(quantizer):
        return 1.0
    last_change, largest = 0, 0.0
    for sign in (1, -1):
        y = values(quantizer, sign * _PROBES)
        changing = np.flatnonzero(np.any(y != y[-1], axis=1))
        last_change = max(last_change, *(changing + 1), 0)
        largest = max(largest, float(np.max(np.abs(y[-1]))))
    if last_change == len(_PROBES) - 1:
        return _UNBOUNDED
    return _ROOM * max(float(_PROBES[last_change]), largest)


def _saturation(quantizer: AnyQuantizer, x: np.ndarray, y: np.ndarray) -> list[float]:
    """Return behind which steps of the line the value never changes again."""
    changes = np.flatnonzero(np.diff(y))
    if scale_follows_values(quantizer):
        grid = quantizer.fixed(x[:, None])
        if grid is None:
            return []
        quantizer = grid
    found = set()
    for sign, end in ((-1, 0), (1, -1)):
        further = sign * _PROBES[_PROBES > abs(x[end])]
        if changes.size and np.all(values(quantizer, further) == y[end]):
            found.add(changes[end])
    return [float(x[i] + x[i + 1]) / 2 for i in found]


# -- the drawing -----------------------------------------------------------------------


def _draw(
    ax: Axes,
    x: np.ndarray,
    inferred: np.ndarray,
    trained: np.ndarray,
    gradient: np.ndarray,
    borders: list[float],
) -> None:
    """Draw arrays with one column a line; a label stands for all of its columns."""
    unlabelled = ["_"] * (inferred.shape[1] - 1)
    for line in (ax.axhline, ax.axvline):
        line(0.0, color="0.8", lw=0.8, zorder=0)
    for border in borders:
        ax.axvline(border, color="0.55", lw=0.9, ls=":", zorder=1)
    if not np.array_equal(trained, inferred):
        ax.plot(
            x[::_EVERY],
            trained[::_EVERY],
            ".",
            ms=3.5,
            mew=0,
            color=TRAINED_COLOUR,
            label=["value in training", *unlabelled],
        )
    ax.plot(
        x,
        inferred,
        color=VALUE_COLOUR,
        lw=1.7,
        drawstyle="steps-post",
        label=["value y", *unlabelled],
    )
    ax.plot(
        x,
        gradient,
        color=GRADIENT_COLOUR,
        lw=1.5,
        ls=(0, (4, 1.6)),
        label=["gradient dy/dx", *unlabelled],
    )
    ax.grid(color="0.94")
    ax.set_axisbelow(True)


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(5.0, 3.4), layout="constrained")[1]
