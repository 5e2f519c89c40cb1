"""What every quantized layer must do, as one call, for tests of layers."""

from .fresh_process import FreshProcess as FreshProcess
from .gradients import gradients as gradients
from .layer_contract import check_layer as check_layer
