"""What convolutions and poolings share: their window, and the layout of images."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from keras import layers
from onnx import NodeProto

from ...models.windows import same_padding
from ..operators import CHANNELS_LAST_DOMAIN, attributes_of
from .refusal import refused
from .translation import Translation
from .values import Activation

Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Window:
    """The window of a convolution or pooling, an entry an axis.

    Attributes:
        size: Its size.
        strides: Its strides.
        dilation: Its dilation.
        pads: What is added before and after each axis.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: Pads

    @property
    def rank(self) -> int:
        """Number of axes, without batch and channels."""
        return len(self.size)

    @property
    def count(self) -> int:
        """Number of entries."""
        return prod(self.size)

    @property
    def is_padded(self) -> bool:
        """Whether anything is added."""
        return any(map(any, self.pads))

    def padding(self, sizes: Any) -> str | None:
        """Return Keras's name for the padding of images of these sizes, or None."""
        if not self.is_padded:
            return "valid"
        same = tuple(
            same_padding(n or 0, *window)
            for n, *window in zip(
                sizes, self.size, self.strides, self.dilation, strict=True
            )
        )
        return "same" if None not in sizes and same == self.pads else None


def image_of(node: NodeProto, translation: Translation) -> Activation:
    """Return the images that a node reads, with channels last in the Keras model."""
    x = translation.activation(node.input[0], node)
    name = node.name or node.output[0]
    if not 3 <= x.rank <= 5:
        raise refused(
            node,
            f"its input has {x.rank} axes",
            "Keras has convolutions and poolings along one to three axes",
        )
    if is_channels_last(node):
        return translation.as_in_file(x, name)
    return translation.as_channels_last(x, name)


def is_channels_last(node: NodeProto) -> bool:
    """Whether the channels are the last axis in the file."""
    return node.domain == CHANNELS_LAST_DOMAIN


def window_of(node: NodeProto, x: Activation, size: tuple[int, ...]) -> Window:
    """Return the window of a node.

    Args:
        node: A convolution or pooling.
        x: The images that it reads, channels last.
        size: The size of its window.
    """
    given = attributes_of(node)
    ones = [1] * len(size)
    strides = tuple(given.get("strides") or ones)
    dilation = tuple(given.get("dilations") or ones)
    pads = given.get("pads") or [0] * 2 * len(size)
    mode = given.get("auto_pad", "NOTSET")
    pairs = tuple(zip(pads[: len(size)], pads[len(size) :], strict=True))
    if mode.startswith("SAME"):
        sizes = x.tensor.shape[1:-1]
        if None in sizes:
            raise refused(node, f"{mode} on images of no fixed size", "Fix their size")
        window = zip(sizes, size, strides, dilation, strict=True)
        pairs = tuple(same_padding(*entry) for entry in window)
        if mode == "SAME_LOWER":
            pairs = tuple(pair[::-1] for pair in pairs)
    if any(n < 0 for pair in pairs for n in pair):
        raise refused(node, f"its pads {pads} are negative", "Crop with a Slice")
    return Window(size, strides, dilation, pairs)


def padded(
    node: NodeProto, x: Any, window: Window, translation: Translation
) -> tuple[Any, str]:
    """Return a Keras tensor with the zeros around it that Keras's padding has not."""
    padding = window.padding(x.shape[1:-1])
    if padding is not None:
        return x, padding
    name = translation.unique(f"{node.name or node.output[0]}/padding")
    return zero_padding(window.pads, name)(x), "valid"


def zero_padding(pads: Pads, name: str) -> Any:
    """Return the layer that adds zeros around images."""
    layer_class = getattr(layers, f"ZeroPadding{len(pads)}D")
    return layer_class(pads if len(pads) > 1 else pads[0], name=name)
