"""A summary as the page may show it: it is sent to others, who need not know where files lie on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.show.html.relative import without_folders


def shared_summary(summary: AuditSummary) -> AuditSummary:
    """The same summary with paths reduced to names; ``summary.json`` keeps them whole."""

    def said(text: str) -> str:
        return without_folders(text, summary.model, str(Path(summary.model).parent), summary.data.root)

    data = summary.data
    return replace(
        summary,
        model=said(summary.model),
        data=replace(data, root=said(data.root), source=said(data.source), notes=tuple(map(said, data.notes))),
        failures=tuple(Failure(failure.image, said(failure.error)) for failure in summary.failures),
        preprocess_source=said(summary.preprocess_source),
        class_map=replace(summary.class_map, source=said(summary.class_map.source)),
        names_source=said(summary.names_source),
        provider=replace(summary.provider, reason=said(summary.provider.reason)),
    )
