"""The audit: what a classifier sees in labelled images, measured, with a folder of results."""

from __future__ import annotations

from onnx_gapmil.audit.auditing import audit
from onnx_gapmil.audit.running import Progress
from onnx_gapmil.audit.subject import Exhibit, Request, Subject
from onnx_gapmil.audit.summary import AuditSummary

__all__ = ["AuditSummary", "Exhibit", "Progress", "Request", "Subject", "audit"]
