"""From the reading of a model to the layers that hls4ml builds."""

from .handlers import lower as lower
from .hardware_model import HardwareModel as HardwareModel
from .hardware_model import prepare as prepare
from .lowering import Lowering as Lowering
from .preflight import check as check
