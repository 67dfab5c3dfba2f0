"""Records of images as an audit has them, made up in a line each."""

from __future__ import annotations

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.auditing.records import ImageRecord
from onnx_gapmil.metrics import ImageMeasures
from onnx_gapmil.metrics.background import Background
from onnx_gapmil.metrics.causes import Cause, Margin
from onnx_gapmil.metrics.foreground import Recovery
from onnx_gapmil.metrics.pointing import Pointing


def record(
    image: str, *, label: int = 1, answer: int = 1, sure: float = 0.5, cause: Cause | None = None, share: float = -1.0
) -> ImageRecord:
    """An image with one label; without a share of right cells its object's place is not known."""
    measures = ImageMeasures(
        labels=(label,),
        prediction=answer,
        right=label == answer,
        ranks=(0 if label == answer else 2,),
        confidence=sure,
        nll=0.5,
        brier=0.25,
        foreground_cells=(1, 2, 5) if share >= 0 else None,
        foreground=Recovery(share > 0, True, share > 0.5, True, share, 0.125) if share >= 0 else None,
        cause=cause,
        recoverable=cause != "absent" if cause is not None else None,
        margin=Margin(0.5, -1.0) if cause is not None else None,
        background=Background(0.75, 0.5, 0.875, False) if share >= 0 else None,
        pointing=Pointing(2, 1, 0) if share >= 0 else None,
    )
    ranks = {name: (place,) for place, name in enumerate(AGGREGATORS)}
    return ImageRecord(image, (64, 48), ((answer, sure), (3, 0.25), (0, 0.125)), ranks, measures)
