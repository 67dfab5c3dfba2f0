"""A folder of results, each file of it whole or not there at all."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from onnx_gapmil.errors import InputError
from onnx_gapmil.report.pictures import save_png
from onnx_gapmil.rewriting import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.predict.answers import ImagePrediction
    from onnx_gapmil.predict.predictor import Predictor


class Results:
    """A folder of results: pictures, arrays and ``predictions.json``, each written whole or not at all.

    The folder is made when the first result is written.

    Args:
        folder: where to.
        pictures: write a PNG for each photo and head.
        arrays: write an NPZ for each photo: ``logits`` (K,), ``grid`` (K, rows, columns) and ``cells`` (rows,
            columns, 4), the cells' rectangles [x0, y0, x1, y1] in pixels of the photo; with several heads each name
            ends in ``_`` and the output's name.

    Raises:
        InputError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, *, pictures: bool, arrays: bool) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; name a folder for the results.")
        self.folder = folder
        self._pictures = pictures
        self._arrays = arrays
        self._stems: dict[str, int] = {}

    def add(self, predictor: Predictor, found: ImagePrediction) -> ImagePrediction:
        """Write what was asked for of one photo; returns the prediction with the paths."""
        self._make()
        stem = self._unique(found.image.stem)
        picture = npz = None
        if self._pictures:
            for place, head in enumerate(head for head in found.heads if head.arranged):
                path = self.folder / (f"{stem}.png" if place == 0 else f"{stem}.{_safe(head.output)}.png")
                save_png(predictor.render(found, head), path)
                picture = picture or path
        if self._arrays:
            npz = self.folder / f"{stem}.npz"
            write_whole(npz, _npz(found))
        return replace(found, picture=picture, npz=npz)

    def finish(self, report: dict[str, Any]) -> Path:
        """Write ``predictions.json``."""
        self._make()
        path = self.folder / "predictions.json"
        write_whole(path, (json.dumps(report, indent=2) + "\n").encode())
        return path

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be made: {error.strerror or error}.") from error

    def _unique(self, stem: str) -> str:
        """Photos of one name from several folders get numbers."""
        count = self._stems.get(stem, 0) + 1
        self._stems[stem] = count
        return stem if count == 1 else self._unique(f"{stem}_{count}")


def _npz(found: ImagePrediction) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    for head in found.heads:
        suffix = f"_{head.output}" if len(found.heads) > 1 else ""
        rows, columns = head.grid_shape
        arrays[f"logits{suffix}"] = head.logits
        arrays[f"grid{suffix}"] = head.grid
        arrays[f"cells{suffix}"] = np.array(
            [
                [found.geometry.cell_rectangle(row, column, head.grid_shape) for column in range(columns)]
                for row in range(rows)
            ],
            dtype=np.float32,
        )
    stream = BytesIO()
    np.savez(stream, **cast("dict[str, Any]", arrays))
    return stream.getvalue()


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
