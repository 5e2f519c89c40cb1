"""One reading of a Keras model, and what is derived from it."""

from .arithmetic import Arithmetic as Arithmetic
from .arithmetic import analyse as analyse
from .evaluation import evaluate as evaluate
from .evaluation import evaluate_exactly as evaluate_exactly
from .folding import fold_batch_normalization as fold_batch_normalization
from .graph import Graph as Graph
from .graph import Operation as Operation
from .graph import Parameter as Parameter
from .graph import Tensor as Tensor
from .grids import Grid as Grid
from .integer_reference import IntegerReference as IntegerReference
from .integer_reference import integer_reference as integer_reference
from .noise_control import noise_points as noise_points
from .quantize import QuantizationReport as QuantizationReport
from .quantize import quantize_model as quantize_model
from .reading import read_model as read_model
from .stripping import dequantize_model as dequantize_model
from .stripping import strip_noise as strip_noise
from .summary import Summary as Summary
from .summary import summary as summary
