"""The audit's page: one HTML file that needs no network."""

from onnx_gapmil.report.html.maps import encode_maps
from onnx_gapmil.report.html.page import render_report, write_report

__all__ = ["encode_maps", "render_report", "write_report"]
