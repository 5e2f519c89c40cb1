"""How large a model becomes when its functions are inlined, if that ever ends."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from .operators import describe
from .structure import nodes_within

#: How deep functions may call each other.
MOST_CALLS = 64
_Key = tuple[str, str, str]


def inlined_size(model: ModelProto) -> int:
    """Return the number of nodes of a model once its functions are inlined.

    Raises:
        ValueError: If functions share a name, call themselves, or are called with more
            inputs or outputs than they have.
    """
    functions: dict[_Key, FunctionProto] = {}
    for function in model.functions:
        key = (_domain(function.domain), function.name, function.overload)
        if key in functions:
            raise ValueError(
                "Functions must have names of their own. "
                f"Received twice: {function.domain}.{function.name[:80]}"
            )
        functions[key] = function
    sizes: dict[_Key, tuple[int, int]] = {}
    for key in functions:
        _measure(key, functions, sizes)
    return _size(model.graph, functions, sizes)[0]


def _measure(
    start: _Key,
    functions: Mapping[_Key, FunctionProto],
    sizes: dict[_Key, tuple[int, int]],
) -> None:
    """Put nodes and levels of a function, and of those that it calls, to `sizes`."""
    open_calls = [start]
    is_open = {start}
    while open_calls:
        key = open_calls[-1]
        waiting = {
            called
            for called in map(_called, nodes_within(functions[key]))
            if called in functions and called not in sizes
        }
        if waiting & is_open:
            raise ValueError(
                "Functions must not call themselves. "
                f"Received: {key[0]}.{key[1][:80]} does"
            )
        if waiting:
            if len(open_calls) > MOST_CALLS:
                _refuse_levels()
            open_calls.append(waiting.pop())
            is_open.add(open_calls[-1])
            continue
        sizes[key] = _size(functions[key], functions, sizes)
        if sizes[key][1] > MOST_CALLS:
            _refuse_levels()
        is_open.remove(open_calls.pop())


def _size(
    body: GraphProto | FunctionProto,
    functions: Mapping[_Key, FunctionProto],
    sizes: Mapping[_Key, tuple[int, int]],
) -> tuple[int, int]:
    count, levels = 0, 0
    for node in nodes_within(body):
        key = _called(node)
        size, level = sizes.get(key, (1, 0))
        count, levels = count + size, max(levels, level + 1)
        function = functions.get(key)
        if function is not None:
            _check_call(node, function)
    return count, levels


def _check_call(node: NodeProto, function: FunctionProto) -> None:
    for what in ("input", "output"):
        most = len(getattr(function, what))
        if len(getattr(node, what)) > most:
            raise ValueError(
                f"{describe(node)} must have at most {most} {what}s, as the function "
                f"that it calls has. Received: {len(getattr(node, what))}"
            )


def _refuse_levels() -> None:
    raise ValueError(
        f"Functions must call each other at most {MOST_CALLS} deep. "
        "Received: more levels"
    )


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _called(node: NodeProto) -> _Key:
    return _domain(node.domain), node.op_type, node.overload
