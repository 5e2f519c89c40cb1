"""Callbacks for quantization-aware training."""

from .ebops import EBOPsPenalty as EBOPsPenalty
from .ebops import ebops as ebops
from .schedule import QuantizationSchedule as QuantizationSchedule
