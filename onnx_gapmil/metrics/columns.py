"""The measures of many images in columns: what all figures of a data set are made of, some 160 bytes an image.

One pass over the images gives them (`MeasuredImages.of`), so that records need not be held, or unpacked, for each
figure. Counts of pixels and of objects are summed on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.files.columns import Columns, ColumnsBuilder, Growing
from onnx_gapmil.metrics.box_flags import FlagsBuilder, ObjectFlags
from onnx_gapmil.metrics.causes import CAUSES
from onnx_gapmil.metrics.pxap import BINS

if TYPE_CHECKING:
    from onnx_gapmil.files.columns import Kind, Numbers
    from onnx_gapmil.metrics.image import ImageMeasures

_FIELDS: dict[str, Kind] = {
    "prediction": "i",
    "right": "b",
    "confidence": "d",
    "nll": "d",
    "brier": "d",
    "label_probability": "d",
    "label_cells": "i",
    "cause": CAUSES,
    "recoverable": "b",
    "control": "d",
    **{f"foreground.{name}": "b" for name in ("any_top1", "any_top5", "most_top1", "most_top5")},
    **{f"foreground.{name}": "d" for name in ("cell_share", "background_share")},
    **{f"margin.{name}": "d" for name in ("foreground", "background")},
    **{f"background.{name}": "d" for name in ("share", "centred", "random")},
    "background.only_background": "b",
    **{f"edges.{name}": "d" for name in ("ring_cells", "evidence", "winners", "energy", "padding")},
    "edges.best_cell": "b",
    **{f"pointing.{name}": "i" for name in ("games", "hits", "centre")},
}


@dataclass(frozen=True)
class ImageNumbers:
    """Numbers of images, in the order of the data set; see `ImageMeasures` for what each is.

    Attributes:
        numbers: by dotted path.
        labels: (labels,), those of all images one behind the other.
        ranks: of each of them.
        counts: (images,), how many of them each image has.
    """

    numbers: Columns
    labels: Numbers
    ranks: Numbers
    counts: Numbers

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, name: str) -> Numbers:
        return self.numbers[name]

    @property
    def rank(self) -> npt.NDArray[np.int32]:
        """(images,), of the best-ranked label.

        Raises:
            ValueError: an image has none.
        """
        if not len(self):
            return np.empty(0, np.int32)
        if not self.counts.all():
            raise ValueError("an image without a label has no rank")
        best: npt.NDArray[np.int32] = np.minimum.reduceat(self.ranks, self.starts).astype(np.int32, copy=False)
        return best

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """(images,), the place of each image's first label."""
        return np.cumsum(self.counts, dtype=np.int64) - self.counts

    def of_one_label(self) -> tuple[Numbers, npt.NDArray[np.intp]]:
        """The labels of the images that have just one, and these images' places."""
        places = np.flatnonzero(self.counts == 1)
        return self.labels[self.starts[places]], places

    def by_label(self, values: Numbers) -> Numbers:
        """(labels,), what an image has at each of its labels."""
        return np.repeat(values, self.counts)

    def among(self, places: npt.ArrayLike) -> ImageNumbers:
        """The same of some images, by their places or marked with true."""
        chosen = np.asarray(places)
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.intp, copy=False)
        counts = self.counts[chosen]
        before = np.cumsum(counts, dtype=np.int64) - counts
        flat = np.repeat(self.starts[chosen] - before, counts) + np.arange(int(counts.sum()))
        return ImageNumbers(self.numbers.among(chosen), self.labels[flat], self.ranks[flat], counts)


@dataclass(frozen=True)
class MeasuredImages:
    """Measures of all images of a data set.

    Attributes:
        images: their numbers.
        objects: (images,), how many boxes were looked for in each.
        boxes: of all these objects, in order; None where there are none.
        pixels: (2, `BINS`), pixels of objects and of what is beside them, by score, summed over images.
        masked: images that have such pixels counted.
        several: the sums of `Several` by field, and of how many images.
    """

    images: ImageNumbers
    objects: Numbers
    boxes: ObjectFlags | None
    pixels: npt.NDArray[np.int64]
    masked: int
    several: dict[str, int]

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(cls, images: Iterable[ImageMeasures] | MeasuredImages) -> MeasuredImages:
        """Of images in the order of the data set; of what is one already, itself."""
        if isinstance(images, MeasuredImages):
            return images
        builder = MeasuresBuilder()
        for image in images:
            builder.add(image)
        return builder.built()


class MeasuresBuilder:
    """Measures that are put into columns image by image."""

    def __init__(self) -> None:
        self._numbers = ColumnsBuilder(_FIELDS)
        self._labels, self._ranks, self._counts, self._objects = (Growing("i") for _ in range(4))
        self._boxes = FlagsBuilder()
        self._pixels, self._masked = np.zeros((2, BINS), dtype=np.int64), 0
        self._several = dict.fromkeys(("images", "objects", "grid", "top1", "top5", "top_m"), 0)

    def add(self, image: ImageMeasures) -> None:
        """Add the next image."""
        self._numbers.add(image)
        self._labels.extend(image.labels)
        self._ranks.extend(image.ranks)
        self._counts.extend((len(image.labels),))
        hits = image.localization or ()
        self._objects.extend((len(hits),))
        for each in hits:
            self._boxes.add(each)
        if image.pxap is not None:
            self._pixels += np.array((image.pxap.object, image.pxap.other), dtype=np.int64)
            self._masked += 1
        if image.several is not None:
            self._several["images"] += 1
            for name in ("objects", "grid", "top1", "top5", "top_m"):
                self._several[name] += getattr(image.several, name)

    def built(self) -> MeasuredImages:
        """All of them; nothing is to be added any more."""
        flat = (values.built() for values in (self._labels, self._ranks, self._counts))
        return MeasuredImages(
            ImageNumbers(self._numbers.columns(), *flat),
            self._objects.built(),
            self._boxes.built(),
            self._pixels,
            self._masked,
            self._several,
        )


def numbers_of(images: Sequence[ImageMeasures] | MeasuredImages | ImageNumbers) -> ImageNumbers:
    """The numbers of images, whatever holds them."""
    return images if isinstance(images, ImageNumbers) else MeasuredImages.of(images).images
