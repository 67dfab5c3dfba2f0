"""What a model says of a photo, and where: plain values that serialize themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.data.choosing import choose_classes
from onnx_gapmil.errors import ImageError, InputError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.urls import said
from onnx_gapmil.files.wording import count, percent
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.prediction.head_answer import HeadPrediction
from onnx_gapmil.prediction.notebook import prediction_html
from onnx_gapmil.show.drawing.overlay import overlay

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, repr=False)
class ImagePrediction:
    """What the model says of one photo, and where.

    ``logits``, ``grid``, ``names``, ``places``, `table` and `overlay` are those of the first head.

    Attributes:
        image: its path, or where else it lies; None where pixels were given.
        photo: (H, W, 3) RGB uint8; None where nobody draws it.
        geometry: where the input lies in the photo; None where arrays were given.
        heads: one for each lifted output.
        picture: where the picture was written.
        npz: where the arrays were written.
        inputs: of arrays, the shape of each as it went in, with the batch's axis, by input; empty for photos.
        note: what is to be said of the photo's samples; "" where there is nothing.
        name: its path within what was named, with ``/``; "" where no folder of results is written.
    """

    image: Source | None
    photo: npt.NDArray[np.uint8] | None
    geometry: Geometry | None
    heads: tuple[HeadPrediction, ...] = ()
    picture: Path | None = None
    npz: Path | None = None
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    note: str = ""
    name: str = ""

    @property
    def logits(self) -> npt.NDArray[np.floating]:
        """(K,), the answer to the whole photo: the mean of `grid` over its cells, or by `HeadPrediction.pool`."""
        return self.heads[0].logits

    @property
    def grid(self) -> npt.NDArray[np.floating] | None:
        """(K, rows, columns), logits of the cells; None where it was not fetched."""
        return self.heads[0].grid

    @property
    def names(self) -> Sequence[str] | None:
        """Of the K classes; None where nothing names them."""
        return self.heads[0].names

    @property
    def places(self) -> npt.NDArray[np.float32] | None:
        """(rows, columns, 4): each cell's rectangle (x0, y0, x1, y1) in pixels of the photo; None if not known."""
        head = self.heads[0]
        if not head.arranged or self.geometry is None:
            return None
        return cell_rectangles(self.geometry_of(head), head.plane)

    def geometry_of(self, head: HeadPrediction) -> Geometry:
        """Where the window that a head's cells divide lies in the photo.

        Raises:
            InputError: arrays were given, so there is no photo.
        """
        found = head.geometry if head.geometry is not None else self.geometry
        if found is None:
            raise InputError("an array was given, so there is no photo in which its cells lie.")
        return found

    def table(self) -> pa.Table:
        """A row for each class; see `HeadPrediction.table`."""
        return self.heads[0].table()

    def overlay(self, index: int | str | None = None) -> npt.NDArray[np.uint8]:
        """The photo under the map of one class, the colour stronger where a cell speaks more for it.

        Args:
            index: number or name of the class; the image's best if None.

        Returns:
            (H, W, 3) RGB uint8, of the photo's own size. What the network does not see is faded.

        Raises:
            InputError: the photo or the grid was not kept, places are not known, or there is no such class.
        """
        head = self.heads[0]
        if self.photo is None or head.grid is None:
            raise InputError("the photo and its grid were not kept, so there is nothing to draw.")
        if not head.arranged:
            raise InputError(
                f"where the cells of {head.output!r} lie is not known, so they are not drawn on the photo."
            )
        chosen = int(np.argmax(head.logits)) if index is None else self._number_of(index)
        if not 0 <= chosen < len(head.grid):
            raise InputError(f"class {chosen} was asked for, and {head.output!r} has {len(head.grid)}, from 0.")
        return overlay(self.photo, self.geometry_of(head), head.grid[chosen])

    def _window(self, head: HeadPrediction) -> list[float] | None:
        """The rectangle of the photo that a head's cells divide evenly; None where their places are not known."""
        return [round(side, 2) for side in self.geometry_of(head).window] if head.arranged else None

    def _number_of(self, index: int | str) -> int:
        if not isinstance(index, str):
            return index
        head = self.heads[0]
        return choose_classes((index,), len(head.logits), head.names, f"output {head.output!r}")[0]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; sizes are [width, height] in pixels. Arrays have the shapes of what went in instead."""
        size = None if self.geometry is None else [self.geometry.image_size[1], self.geometry.image_size[0]]
        arrays = {"inputs": {name: list(shape) for name, shape in self.inputs.items()}} if self.inputs else {}
        heads = [head.to_json() for head in self.heads]
        if self.inputs:  # no boxes say where cells lie
            heads = [
                entry | {"places": head.places.to_json() if head.places is not None else None}
                for entry, head in zip(heads, self.heads, strict=True)
            ]
        elif self.geometry is not None:
            heads = [entry | {"window": self._window(head)} for entry, head in zip(heads, self.heads, strict=True)]
        return {
            "image": str(self.image) if self.image is not None else None,
            **({"name": self.name} if self.name else {}),
            "size": size,
            **arrays,
            "heads": heads,
            "picture": said(self.picture) if self.picture is not None else None,
            "npz": said(self.npz) if self.npz is not None else None,
            **({"note": self.note} if self.note else {}),
        }

    def _repr_html_(self) -> str:
        """What a notebook shows: the photo under the map of its best class, small, and the best classes."""
        head = self.heads[0]
        known = head.arranged and self.geometry is not None and self.photo is not None
        seen = self.geometry_of(head) if known else None
        name = self.image.name if self.image is not None else "pixels" if self.geometry is not None else "arrays"
        return prediction_html(head, name, self.photo, seen)

    def __repr__(self) -> str:
        size = f"{self.geometry.image_size[1]} x {self.geometry.image_size[0]}" if self.geometry is not None else ""
        given = size or ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in self.inputs.items())
        what = "pixels" if self.geometry is not None else "arrays"
        head = self.heads[0]
        as_score = "{:.2f}".format if head.reading.activation == "none" else percent
        listed = head.top if head.present is None else head.present
        top = ", ".join(f"{entry.label} {as_score(entry.score)}" for entry in listed[:3]) or "none present"
        winners = ", ".join(f"{entry.label} {entry.cells}" for entry in head.winners[:3]) or "won by no class"
        boxes = ", ".join(f"{entry.label} {tuple(map(round, entry.box))}" for entry in head.boxes[:2]) or "none"
        several = ", the first of several" if len(self.heads) > 1 else ""
        return (
            f"ImagePrediction of {self.image or what} ({given})\n"
            f"  head         {head.output!r}, {head.said_verdict}{several}\n"
            f"  whole image  {top}\n"
            f"  {' x '.join(map(str, head.grid_shape))} cells  {winners}\n"
            f"  boxes        {boxes}"
        )


@dataclass(frozen=True)
class FailedImage:
    """A photo that could not be read.

    Attributes:
        image: its path, or where else it lies.
        error: why.
        name: as `ImagePrediction.name`.
    """

    image: Source
    error: ImageError
    name: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        named = {"name": self.name} if self.name else {}
        return {"image": str(self.image), **named, "error": str(self.error)}


@dataclass(frozen=True, repr=False)
class Predictions:
    """What a model says of several photos.

    Attributes:
        images: one for each photo that could be read, in order.
        failed: the others.
        summary: what all have in common: model, verdict, provider, preprocessing, where names come from; JSON types.
        report: where ``predictions.json`` was written; None if it was not.
    """

    images: tuple[ImagePrediction, ...]
    failed: tuple[FailedImage, ...]
    summary: Mapping[str, Any]
    report: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of ``predictions.json``."""
        images, failed = [found.to_json() for found in self.images], [found.to_json() for found in self.failed]
        return {**self.summary, "images": images, "failed": failed}

    def table(self) -> pa.Table:
        """A row for each photo.

        Returns:
            An Arrow table of ``image``, ``index``, ``name`` and ``score`` of the image's best class, null of a
            multi-label head where none is present; ``present``, the names of the classes that are, null of other heads;
            and ``winner`` and ``winner_cells`` of the class that wins most cells, null where none wins any; all of the
            first head.
        """
        import pyarrow as pa

        rows = []
        for found in self.images:
            head = found.heads[0]
            listed = head.top if head.present is None else head.present
            best, winner = listed[0] if listed else None, head.winners[0] if head.winners else None
            rows.append(
                {
                    "image": str(found.image),
                    "index": best.index if best is not None else None,
                    "name": best.label if best is not None else None,
                    "score": best.score if best is not None else None,
                    "present": None if head.present is None else [entry.label for entry in head.present],
                    "winner": winner.label if winner is not None else None,
                    "winner_cells": winner.cells if winner is not None else None,
                }
            )
        return pa.Table.from_pylist(rows, schema=_photo_rows())

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[ImagePrediction]:
        return iter(self.images)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} could not be read" if self.failed else ""
        return f"Predictions of {self.summary['model']} for {count(len(self.images), 'photo')}{failed}"


def _photo_rows() -> pa.Schema:
    import pyarrow as pa

    kinds = {"image": pa.string(), "index": pa.int64(), "name": pa.string(), "score": pa.float64()}
    return pa.schema({**kinds, "present": pa.list_(pa.string()), "winner": pa.string(), "winner_cells": pa.int64()})


@lru_cache(maxsize=64)
def cell_rectangles(geometry: Geometry, grid_shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """(rows, columns, 4), read-only: `Geometry.cell_rectangle` of each cell; photos of one size share it."""
    rows, columns = grid_shape
    across = np.array([geometry.cell_rectangle(0, column, grid_shape) for column in range(columns)], np.float32)
    down = np.array([geometry.cell_rectangle(row, 0, grid_shape) for row in range(rows)], np.float32)
    cells = np.empty((rows, columns, 4), np.float32)
    cells[:, :, 0::2] = across[None, :, 0::2]
    cells[:, :, 1::2] = down[:, None, 1::2]
    cells.flags.writeable = False
    return cells
