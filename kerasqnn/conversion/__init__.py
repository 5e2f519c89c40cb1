"""Models of other libraries taken over, bit for bit or not at all."""

from .qkeras import from_qkeras as from_qkeras
