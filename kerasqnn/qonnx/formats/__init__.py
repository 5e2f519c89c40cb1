"""Conversion between QONNX, QCDQ and quantized operators with clipping."""

from .convert import convert_qonnx as convert_qonnx
