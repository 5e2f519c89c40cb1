"""Export to QONNX, and running the exported file in ONNX Runtime."""

from ..qonnx import QONNXSession as QONNXSession
from ..qonnx import run_qonnx as run_qonnx
from ..qonnx import run_reference as run_reference
from .qonnx_export import build_qonnx as build_qonnx
from .qonnx_export import export_qonnx as export_qonnx
