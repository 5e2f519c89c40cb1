"""QONNX files of any origin: the operators, and running them in ONNX Runtime."""

from .checker import check_qonnx as check_qonnx
from .costs import inference_cost as inference_cost
from .datatypes import infer_datatypes as infer_datatypes
from .formats import convert_qonnx as convert_qonnx
from .inference import infer_grids as infer_grids
from .operators import DOMAIN as DOMAIN
from .reference import run_reference as run_reference
from .session import QONNXSession as QONNXSession
from .session import run_qonnx as run_qonnx
