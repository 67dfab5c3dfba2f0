"""Integer models of the digit classifier, made by ONNX Runtime's own quantizer: for the demo and the documents.

How a model is calibrated decides what it can still see: on photos as the model will meet them, hardly an answer
changes; on a handful of dim ones, bright strokes saturate.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from onnx_gapmil.images.decode import read_image
from onnx_gapmil.images.resolve import load_preprocess


class Photos(CalibrationDataReader):  # type: ignore[misc]
    """Photos for the quantizer to look at, prepared as the model wants them.

    Args:
        model: has its preprocessing beside it.
        photos: to look at.
        light: by which each pixel is multiplied.
    """

    def __init__(self, model: Path, photos: Sequence[Path], light: float) -> None:
        recipe = load_preprocess(model.with_name(f"{model.stem}.preprocess.json"))
        dimmed = ((read_image(photo) * light).astype(np.uint8) for photo in photos)
        self._feeds: Iterator[dict[str, Any]] = ({"image": recipe.apply(photo)[0][None]} for photo in dimmed)

    def get_next(self) -> dict[str, Any] | None:
        """The next input."""
        return next(self._feeds, None)


def quantize(model: Path, photos: Sequence[Path], output: Path, *, light: float = 1.0) -> Path:
    """Write a model of 8-bit integers (Q/DQ, a scale for each channel), with names and preprocessing beside it.

    Args:
        model: float32, with ``STEM.labels.txt`` and ``STEM.preprocess.json`` beside it.
        photos: that the quantizer looks at.
        output: where to write.
        light: by which each of their pixels is multiplied.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)  # it advises a step that changes nothing in a graph as simple as these
    try:
        quantize_static(
            model,
            output,
            Photos(model, photos, light),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Products with int8 saturate on processors without VNNI, whose answers would be others.
            weight_type=QuantType.QUInt8,
            activation_type=QuantType.QUInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    for ending in ("labels.txt", "preprocess.json"):
        shutil.copy(model.with_name(f"{model.stem}.{ending}"), output.with_name(f"{output.stem}.{ending}"))
    return output
