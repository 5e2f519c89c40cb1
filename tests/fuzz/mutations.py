"""Random changes of serialized and of parsed ONNX models."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.message import DecodeError, Message
from onnx import ModelProto

_NUMBERS = (0, 1, -1, 2, 3, 7, 8, 127, 128, 255, 2**20, 2**31 - 1, 2**31, -(2**31),
            2**62, 2**63 - 1, -(2**63))  # fmt: skip
_REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e30, 1e-45, float("inf"), float("nan"))
_TEXTS = ("", "x", "y", "Add", "Reshape", "Conv", "MaxPool", "Softmax", "Squeeze",
          "Gather", "Slice", "Pad", "Split", "Concat", "Transpose", "Expand", "Tile",
          "Resize", "Loop", "If", "Scan", "Quant", "Trunc", "FloatQuant", "Constant",
          "ConstantOfShape", "Range", "DepthToSpace", "AveragePool", "ConvTranspose",
          "BatchNormalization", "GlobalAveragePool", "LSTM", "QuantizeLinear", "OneHot",
          "TopK", "NonZero", "Unsqueeze", "Flatten", "Div", "Mod", "Einsum", "axes",
          "MultiThreshold", "QuantAvgPool2d", "Im2Col", "MaxPoolNHWC",
          "XnorPopcountMatMul", "ROUND", "qonnx", "qonnx.custom_op.general",
          "qonnx.custom_op.channels_last", "é" * 9, "a" * 5000)  # fmt: skip


def mutate_bytes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Flip, cut, insert, repeat or splice a few times."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(changed) + 1)
        size = rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(6)
        if kind == 0 and changed:
            changed[at % len(changed)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[at : at + size]
        elif kind == 2:
            changed[at:at] = rng.randbytes(size)
        elif kind == 3:
            changed[at:at] = changed[at : at + size]
        elif kind == 4:
            start = rng.randrange(len(other))
            changed[at : at + size] = other[start : start + size]
        elif rng.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def mutate_model(model: ModelProto, rng: random.Random) -> ModelProto:
    """Change values of random fields, however deep, a few times."""
    changed = ModelProto()
    changed.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        messages = _messages(changed)
        _mutate_message(rng.choice(messages), messages, rng)
    return changed


def _messages(root: Message) -> list[Message]:
    found, stack = [], [root]
    while stack:
        message = stack.pop()
        found.append(message)
        for field, value in message.ListFields():
            if field.message_type:
                stack.extend([value] if isinstance(value, Message) else value)
    return found


def _mutate_message(
    message: Message, others: list[Message], rng: random.Random
) -> None:
    filled = [field for field, _ in message.ListFields()]
    # Mostly what is there, sometimes what is not.
    candidates = filled if filled and rng.random() < 0.8 else message.DESCRIPTOR.fields
    field = rng.choice(list(candidates))
    value = getattr(message, field.name)
    try:
        if field.message_type and isinstance(value, Message):
            _mutate_child(message, field.name, value, others, rng)
        elif hasattr(value, "extend"):
            _mutate_list(value, field, others, rng)
        elif rng.random() < 0.1:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, _new_value(field, value, others, rng))
    except (ValueError, TypeError, DecodeError):  # the number does not fit the field
        message.ClearField(field.name)


def _mutate_child(
    message: Message, name: str, value: Any, others: list[Message], rng: random.Random
) -> None:
    same = [m for m in others if m.DESCRIPTOR is value.DESCRIPTOR and m is not value]
    if same and rng.random() < 0.7:
        value.ParseFromString(rng.choice(same).SerializeToString())
    else:
        message.ClearField(name)


def _mutate_list(
    values: Any, field: Any, others: list[Message], rng: random.Random
) -> None:
    kind = rng.randrange(5)
    if kind == 0 and len(values):
        del values[rng.randrange(len(values))]
    elif kind == 1 and len(values) > 1:
        copies = list(values)
        if field.message_type:
            copies = [type(v).FromString(v.SerializeToString()) for v in copies]
        rng.shuffle(copies)
        del values[:]
        values.extend(copies)
    elif kind == 2 and len(values):
        values.extend([rng.choice(values)] * rng.choice((1, 1, 3)))
    elif field.message_type:
        same = [m for m in others if m.DESCRIPTOR is field.message_type]
        if same:
            values.extend([rng.choice(same)])
    elif len(values) and kind == 3:
        at = rng.randrange(len(values))
        values[at] = _new_value(field, values[at], others, rng)
    else:
        values.append(_new_value(field, None, others, rng))


def _new_value(field: Any, old: Any, others: list[Message], rng: random.Random) -> Any:
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice(_REALS)
    if field.type == field.TYPE_BYTES:
        data = old or b""
        noise, text = rng.randbytes(len(data) or 4), rng.choice(_TEXTS).encode()
        cut, longer, zeros = data[:-1], data + b"\0", bytes(len(data))
        choices = (b"", b"\xff\xfe", cut, longer, zeros, noise, text)
        return rng.choice(choices)
    if field.type == field.TYPE_STRING:
        texts = [t for m in others for f, t in m.ListFields() if isinstance(t, str)]
        return rng.choice(texts if texts and rng.random() < 0.6 else _TEXTS)
    if isinstance(old, int) and rng.random() < 0.4:
        return old + rng.choice((-1, 1, -2, 2))
    return rng.choice(_NUMBERS[:8] if rng.random() < 0.7 else _NUMBERS)
