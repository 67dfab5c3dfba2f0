"""Aggregators: what turns a prediction grid into one score for each class of the image."""

from onnx_gapmil.aggregate.aggregator import AGGREGATORS, Aggregator, parse_aggregator

__all__ = ["AGGREGATORS", "Aggregator", "parse_aggregator"]
