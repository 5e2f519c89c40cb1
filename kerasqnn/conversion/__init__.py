"""Models of other libraries taken over, bit for bit or not at all."""

from .hgq2 import from_hgq2 as from_hgq2
from .qkeras import from_qkeras as from_qkeras
from .qkeras_models import to_qkeras as to_qkeras
