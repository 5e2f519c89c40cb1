"""The demonstration: the whole road on real data, in one command."""

from .run import run_demo as run_demo
