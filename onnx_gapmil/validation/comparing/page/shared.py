"""A comparison as the page may show it: it is sent to others, who need not know where files lie on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.show.html.relative import without_folders

if TYPE_CHECKING:
    from onnx_gapmil.validation.comparing.result import ComparedModel, Comparison


def shared_comparison(found: Comparison) -> Comparison:
    """The same comparison with paths reduced to names; ``compare.json`` keeps them whole."""
    models = (found.models.old, found.models.new)
    known = [found.data.root, *(path for model in models for path in (model.path, str(Path(model.path).parent)))]

    def said(text: str) -> str:
        return without_folders(text, *known)

    def shown(model: ComparedModel) -> ComparedModel:
        return replace(
            model,
            path=said(model.path),
            preprocess_source=said(model.preprocess_source),
            labels_source=said(model.labels_source),
            names_source=said(model.names_source),
            provider=replace(model.provider, reason=said(model.provider.reason)),
        )

    data = found.data
    return replace(
        found,
        models=replace(found.models, old=shown(found.models.old), new=shown(found.models.new)),
        data=replace(data, root=said(data.root), source=said(data.source), notes=tuple(map(said, data.notes))),
        failures=tuple(Failure(failure.image, said(failure.error)) for failure in found.failures),
        aligned_classes=replace(found.aligned_classes, source=said(found.aligned_classes.source)),
        notes=tuple(map(said, found.notes)),
    )
