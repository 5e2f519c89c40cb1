"""`python -m kerasqnn.cli`."""

from . import main

main()
