"""Labelled data sets in: layouts recognised and read, labels translated to the model's classes."""

from onnx_gapmil.data.checks import check_sample
from onnx_gapmil.data.classes import apply_class_map, resolve_classes
from onnx_gapmil.data.masks import read_mask
from onnx_gapmil.data.offsets import candidate_offsets
from onnx_gapmil.data.opening import open_data
from onnx_gapmil.data.types import Box, ClassMap, DataSet, Label, RawBox, RawSample, Sample

__all__ = [
    "Box",
    "ClassMap",
    "DataSet",
    "Label",
    "RawBox",
    "RawSample",
    "Sample",
    "apply_class_map",
    "candidate_offsets",
    "check_sample",
    "open_data",
    "read_mask",
    "resolve_classes",
]
