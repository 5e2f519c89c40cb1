"""What QCDQ cannot say."""

from __future__ import annotations

from collections.abc import Iterator

from ....errors import UnsupportedModelError
from ...formats import convert_qonnx
from ..facts import Facts
from ..registry import ERROR, Hit, rule


@rule(
    "qcdq-refused", {"qcdq": ERROR}, "QCDQ cannot say the model",
    "`convert_qonnx` refuses it, by its first such node", "Follow the message",
)  # fmt: skip
def refused(facts: Facts) -> Iterator[Hit]:
    """`convert_qonnx(model, "qcdq")`, which proves that the numbers are the same."""
    try:
        convert_qonnx(facts.model, "qcdq")
    except (UnsupportedModelError, ValueError) as error:
        yield Hit(None, "", str(error))
