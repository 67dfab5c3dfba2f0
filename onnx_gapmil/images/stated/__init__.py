"""What a model's file itself says of its preprocessing: its metadata, and its graph's own first nodes."""

from onnx_gapmil.images.stated.first_nodes import read_first_nodes
from onnx_gapmil.images.stated.metadata import unknown_keys
from onnx_gapmil.images.stated.reading import FileReading, read_file
from onnx_gapmil.images.stated.statement import PARTS, Statement

__all__ = ["PARTS", "FileReading", "Statement", "read_file", "read_first_nodes", "unknown_keys"]
