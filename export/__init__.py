"""Export to QONNX, and running the exported file in ONNX Runtime."""

from .qonnx_export import build_qonnx as build_qonnx
from .qonnx_export import export_qonnx as export_qonnx
from .reference import run_reference as run_reference
from .session import QONNXSession as QONNXSession
from .session import run_qonnx as run_qonnx
