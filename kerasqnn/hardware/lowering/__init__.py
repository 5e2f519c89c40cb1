"""From the reading of a model to the layers that hls4ml builds."""

from .hardware_model import HardwareModel as HardwareModel
from .hardware_model import prepare as prepare
from .handlers import lower as lower
from .preflight import check as check
