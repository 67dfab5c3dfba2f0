"""The audit: what a classifier sees in labelled images, measured, with a folder of results."""

from __future__ import annotations

from onnx_gapmil.auditing.audit import audit
from onnx_gapmil.auditing.measuring import Progress
from onnx_gapmil.auditing.preparation import PreparedData, Request, Subject
from onnx_gapmil.auditing.summary import AuditSummary

__all__ = ["AuditSummary", "PreparedData", "Progress", "Request", "Subject", "audit"]
