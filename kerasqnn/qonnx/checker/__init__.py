"""A static check of QONNX files: what each consumer refuses, or silently changes."""

from .check import check_qonnx as check_qonnx
from .report import Finding as Finding
from .report import Report as Report
