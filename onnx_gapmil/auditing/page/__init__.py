"""The audit's page: one HTML file that needs no network."""

from onnx_gapmil.auditing.page.report import Report, render_report, write_report

__all__ = ["Report", "render_report", "write_report"]
