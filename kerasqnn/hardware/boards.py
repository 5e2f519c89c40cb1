"""The boards, as data: one TOML file each under `boards/`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import unknown_name

_FOLDER = Path(__file__).parent / "boards"


@dataclass(frozen=True)
class Board:
    """An FPGA board.

    Attributes:
        name: Canonical name.
        title: Name for people.
        aliases: Other names that are accepted.
        part: FPGA part number.
        backend: hls4ml backend that is used unless another is asked for.
        clock_mhz: Default clock of the accelerator, MHz.
        resources: Available `lut`, `ff`, `bram36`, `dsp`.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    part: str
    backend: str
    clock_mhz: float
    resources: dict[str, int]


@cache
def _boards() -> dict[str, Board]:
    found = {}
    for file in sorted(_FOLDER.glob("*.toml")):
        data: dict[str, Any] = tomllib.loads(file.read_text())
        found[data["name"]] = Board(**{**data, "aliases": tuple(data["aliases"])})
    return found


def boards() -> dict[str, Board]:
    """Return the known boards by name."""
    return dict(_boards())


def get_board(name: str | Board) -> Board:
    """Return a board by its name or one of its aliases.

    Raises:
        ValueError: If no board has that name; the message has the nearest one.
    """
    if isinstance(name, Board):
        return name
    known = {b.name: b for b in _boards().values()}
    known |= {alias: b for b in _boards().values() for alias in b.aliases}
    key = str(name).lower().replace("_", "-").replace(" ", "-")
    if key not in known:
        raise ValueError(unknown_name("board", name, known))
    return known[key]
