"""Quantizers: what maps real tensors onto the numbers that hardware holds."""

from .auto_binary import AutoBinary as AutoBinary
from .auto_binary import AutoTernary as AutoTernary
from .auto_fixed_point import AutoFixedPoint as AutoFixedPoint
from .auto_fixed_point import AutoLinear as AutoLinear
from .auto_scale import AutoScale as AutoScale
from .binary import Binary as Binary
from .binary import Heaviside as Heaviside
from .binary import Ternary as Ternary
from .calibration import Calibration as Calibration
from .calibration import calibrate as calibrate
from .fixed_point import FixedPoint as FixedPoint
from .fixed_point import QuantizedLinear as QuantizedLinear
from .fixed_point import QuantizedReLU as QuantizedReLU
from .learned_step_size import PACT as PACT
from .learned_step_size import LearnedStepSize as LearnedStepSize
from .parsing import deserialize as deserialize
from .parsing import get as get
from .parsing import serialize as serialize
from .qkeras_names import binary as binary
from .qkeras_names import quantized_bits as quantized_bits
from .qkeras_names import quantized_relu as quantized_relu
from .qkeras_names import ternary as ternary
from .quantizer import Quantizer as Quantizer
from .quantizer import UniformQuantizer as UniformQuantizer
from .rounding import ROUNDING_MODES as ROUNDING_MODES
from .stateful import StatefulQuantizer as StatefulQuantizer
