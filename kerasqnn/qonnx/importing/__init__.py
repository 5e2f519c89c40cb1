"""QONNX files of any origin as trainable Keras models with the same bits."""

from .qonnx_import import import_qonnx as import_qonnx
