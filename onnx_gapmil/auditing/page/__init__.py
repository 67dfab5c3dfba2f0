"""The audit's page: one HTML file that needs no network."""

from onnx_gapmil.auditing.page.page import render_report, write_report

__all__ = ["render_report", "write_report"]
