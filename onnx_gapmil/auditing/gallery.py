"""The images that a reader should look at: chosen, run once more, made small, with maps of their telling classes."""

from __future__ import annotations

import base64
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.two_classes import with_two_classes
from onnx_gapmil.auditing.columns import RunColumns
from onnx_gapmil.auditing.preparation import AUTO
from onnx_gapmil.auditing.records import ImageRecord
from onnx_gapmil.data import check_sample
from onnx_gapmil.files.blob import Blob
from onnx_gapmil.files.serial import FLAT
from onnx_gapmil.files.wording import count
from onnx_gapmil.metrics.causes import CAUSES, Cause
from onnx_gapmil.prediction.page.content import page_model
from onnx_gapmil.prediction.page.touched import TouchedAnswer, placeless_of, touched_answer
from onnx_gapmil.running.pipeline import iterate_batches
from onnx_gapmil.show.html.maps import EncodedMaps, encode_maps

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from onnx_gapmil.auditing.measuring import Run
    from onnx_gapmil.auditing.preparation import Request
    from onnx_gapmil.auditing.records import Record
    from onnx_gapmil.auditing.standing import Standing
    from onnx_gapmil.data import Sample
    from onnx_gapmil.images.geometry import Geometry
    from onnx_gapmil.images.resolve import ResolvedPreprocess
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.prediction.page.content import PageModel
    from onnx_gapmil.running.pipeline.stream import Photo

#: Longer side of a thumbnail in pixels, and its JPEG quality.
_SIDE, _QUALITY = 288, 80
#: Classes of one image whose maps are kept, at the most, where no number is asked for.
_CLASSES = 32
#: A cell's first classes, which are among them.
_CELL_TOP = 5


Fractions = tuple[float, float, float, float]
"""x0, y0, x1, y1 in fractions of the photo's width and height."""


@dataclass(frozen=True, kw_only=True)
class GalleryImage:
    """One image of the gallery.

    Attributes:
        name: in the data set.
        labels: the true classes.
        prediction: the image's first classes with their probabilities, best first.
        right: whether the first is a true one.
        cause: why it is not, where that is known.
        recoverable: whether a true class wins a cell on the object though the answer is wrong.
        thumb: the whole photo, small, as a ``data:`` address.
        size: (width, height) of that in pixels.
        window: what the network sees; below 0 or above 1 where the photo was padded.
        boxes: of objects.
        box_classes: what each shows.
        foreground: flat indices of the cells on the object.
        slices: of the data that it belongs to, as ``column=value``.
        suspect: whether its label is suspect.
        full: (width, height) of the photo as it is stored, upright.
        within: whether it lies in something else, a shard or behind a URL, and is no file of that name.
        note: what is to be said of its samples.
        present: of a multi-label head, the classes above their thresholds; None of others.
        maps: of its telling classes.
        answer: what else is said of it when it is touched.
    """

    name: str
    labels: tuple[int, ...]
    prediction: tuple[tuple[int, float], ...]
    right: bool
    cause: Cause | None
    recoverable: bool
    thumb: str
    size: tuple[int, int]
    window: Fractions
    boxes: tuple[Fractions, ...]
    box_classes: tuple[tuple[int, ...], ...]
    foreground: tuple[int, ...]
    slices: tuple[str, ...] = ()
    suspect: bool = False
    full: tuple[int, int]
    within: bool = False
    note: str = ""
    present: tuple[int, ...] | None = None
    maps: Annotated[EncodedMaps, FLAT]
    answer: Annotated[TouchedAnswer, FLAT]

    @property
    def classes(self) -> set[int]:
        """All classes that the page names with it."""
        return {*self.labels, *self.maps.classes, *(self.present or ()), *itertools.chain(*self.box_classes)}


@dataclass(frozen=True)
class Gallery:
    """The images that a report shows.

    Attributes:
        total: images that were measured.
        shown: of these, how many are here.
        note: one sentence where not all are; else empty.
        images: the most telling first.
    """

    total: int
    shown: int
    note: str
    images: tuple[GalleryImage, ...]


def choose(records: Sequence[Record] | RunColumns, most: int, suspects: Sequence[int] = ()) -> list[int]:
    """Choose images, the most telling first: causes of errors in turn, then right answers.

    A fifth of the places is kept for right answers, and another for suspect labels, if there are so many.

    Within a cause come first the errors whose object knew best what it is (the largest share of foreground cells that
    are right), and of those where no cell knew it the surest; of right answers those with the least on the object.

    Args:
        records: of all images, or their columns.
        most: how many at the most.
        suspects: places in ``records`` of those whose label is suspect, the plainest first.

    Returns:
        Places in ``records``.
    """
    *errors, right = _groups(RunColumns.of(records))
    kept_right = min(len(right), max(most - sum(map(len, errors)), most // 5))
    kept = set(suspects[: most // 5])
    # Of a group no more can be shown than are asked for, and the suspects, wherever they stand in it.
    turns = [
        (turn, kind, place)
        for kind, members in enumerate(errors)
        for turn, place in enumerate(members.tolist())
        if turn < most or place in kept
    ]
    ordered = [place for _, _, place in sorted(turns)]
    for place in ordered:
        if len(kept) >= most - kept_right:
            break
        kept.add(place)
    return [*(place for place in ordered if place in kept), *right[:kept_right].tolist()]


def _groups(found: RunColumns) -> list[npt.NDArray[np.intp]]:
    """Places of the records of images, the most telling first: errors by cause, those without one, right ones."""
    share = np.nan_to_num(found.numbers["measures.foreground.cell_share"], nan=0.0)
    right, cause = found.numbers["measures.right"] == 1, found.numbers["measures.cause"]
    telling = np.where(right, share, np.where(share > 0, -share, -found.probability))  # smaller is more telling
    kinds = [~right & (cause == place) for place in (*range(len(CAUSES)), -1)]
    places = found.records
    groups = []
    for kind in (*kinds, right):
        members = np.flatnonzero(kind)
        groups.append(places[members[np.argsort(telling[members], kind="stable")]])
    return groups


def build_gallery(run: Run, most: int, standing: Standing, classes: int | None = None) -> Gallery:
    """Choose at most so many images, run them once more, and make them small.

    Args:
        run: the audit.
        most: how many images at the most.
        standing: where its images stand among all.
        classes: of each image whose maps are kept; see `telling_classes`.
    """
    places = run.columns.records
    chosen = choose(run.columns, most, [int(places[suspect]) for suspect in (standing.suspects or ())[:most]])
    marks = _marks(places, standing, set(chosen))
    samples = [run.prepared.samples[place] for place in chosen]
    images: list[GalleryImage] = []
    batches = iterate_batches(
        run.classifier.session,
        run.prepared.preprocess.preprocess,
        [sample.image for sample in samples],
        batch=run.request.batch,
        keep_photos=True,
        outputs=("grid",),
        fast_decode=run.request.fast_decode,
    )
    for batch in batches:
        for row, photo in enumerate(batch.photos):
            found, record = batch.grids[run.classifier.place], run.records[chosen[photo.place]]
            grid = found.grid
            if grid is None or photo.pixels is None or not isinstance(record, ImageRecord):
                raise TypeError("a gallery needs pixels and grids of images that were measured")
            images.append(
                _entry(
                    samples[photo.place],
                    record,
                    marks[chosen[photo.place]],
                    photo,
                    photo.geometry.of_cells(run.classifier.head.places, (grid.shape[2], grid.shape[3])),
                    _Told(
                        with_two_classes(grid[row]),
                        with_two_classes(found.logits[row]),
                        placeless_of(found, row, independent=run.classifier.head.activation == "sigmoid"),
                    ),
                    run.classifier,
                    classes,
                )
            )
    total = len(places)
    shown = f"The {len(images):,} most telling of {count(total, 'image')}; --gallery N shows more."
    note = "" if len(images) == total else shown
    return Gallery(total, len(images), note, tuple(images))


@dataclass(frozen=True)
class _Told:
    """What the head says of one: grid (K, rows, columns), logits (K,), and the share of them that has no place."""

    grid: npt.NDArray[np.float64]
    logits: npt.NDArray[np.float64]
    placeless: float | None


@dataclass(frozen=True)
class _Marks:
    """What only all images together say of one."""

    slices: tuple[str, ...]
    suspect: bool


def _marks(places: npt.NDArray[np.intp], standing: Standing, chosen: Collection[int]) -> dict[int, _Marks]:
    """The marks of chosen images, by their place among the records.

    Args:
        places: of all that were measured.
        standing: where these stand.
        chosen: places among the records.
    """
    suspects = set(standing.suspects or ())
    return {
        place: _Marks(tuple(f"{column}={value}" for column, value in slices.items()), among in suspects)
        for among, (place, slices) in enumerate(
            zip(map(int, places), standing.slices.by_image(len(places)), strict=True)
        )
        if place in chosen
    }


def _entry(
    sample: Sample,
    record: ImageRecord,
    marks: _Marks,
    photo: Photo,
    geometry: Geometry,
    told: _Told,
    classifier: Classifier,
    most: int | None,
) -> GalleryImage:
    if photo.pixels is None:
        raise TypeError("a gallery needs pixels")
    height, width = geometry.image_size
    thumb, size = thumbnail(photo.pixels)
    measures = record.measures
    classes = telling_classes(told.grid, [index for index, _ in record.top], measures.labels, most)
    maps = encode_maps(told.grid, classes)
    x0, y0 = geometry.to_image(0.0, 0.0)
    x1, y1 = geometry.to_image(float(geometry.input_size[1]), float(geometry.input_size[0]))
    boxes = check_sample(sample, (height, width)).boxes
    return GalleryImage(
        name=sample.name,
        labels=measures.labels,
        prediction=record.top,
        right=measures.right,
        cause=measures.cause,
        recoverable=bool(measures.recoverable),
        thumb=thumb,
        size=size,
        window=(x0 / width, y0 / height, x1 / width, y1 / height),
        boxes=tuple(fractions(box.box, width, height) for box in boxes),
        box_classes=tuple(box.classes for box in boxes),
        foreground=measures.foreground_cells or (),
        slices=marks.slices,
        suspect=marks.suspect,
        full=(width, height),
        within=isinstance(sample.image, Blob),
        note=photo.note,
        present=record.answered.present if record.answered is not None else None,
        maps=maps if classifier.arranged else replace(maps, grid=None),
        answer=touched_answer(told.grid, told.logits, classifier.reading, classes, told.placeless),
    )


def told_model(classifier: Classifier, request: Request, chosen: ResolvedPreprocess) -> PageModel:
    """What a report says of a model where an image is touched.

    Args:
        classifier: the model.
        request: what was asked for of it.
        chosen: how photos became its inputs, where labelled images told.
    """
    found = request.preprocess == AUTO
    asked = {
        "preprocess": chosen.preprocess if found else request.preprocess,
        "names": request.names,
        "head": request.head,
        "thresholds": request.thresholds,
        "class_token": request.class_token,
        "size": request.size,
        "stitch": request.stitch if request.stitch > 1 else None,
    }
    # What a run that goes on takes over of an earlier one says less of where it comes from than the model itself.
    used = chosen if found else classifier.preprocess
    return page_model(classifier, asked, fast_decode=request.fast_decode, used=used, only=True)


def fractions(box: Fractions, width: int, height: int) -> Fractions:
    """A box in fractions of a photo of this width and height."""
    x0, y0, x1, y1 = box
    return round(x0 / width, 5), round(y0 / height, 5), round(x1 / width, 5), round(y1 / height, 5)


def telling_classes(
    grid: npt.NDArray[np.float64], top: Sequence[int], labels: Sequence[int], most: int | None = None
) -> list[int]:
    """The classes whose maps are worth keeping: true ones, the image's first, and the first of every cell.

    Args:
        grid: (K, H, W).
        top: the image's first classes.
        labels: the true ones.
        most: so many are kept, with the image's next ones behind these; None for 32 at the most, and no others.

    Returns:
        At most 32 or so many, or all labels if they are more; true ones and the image's first before the others,
        which come by their highest logit.
    """
    room = _CLASSES if most is None else most
    if len(grid) <= room:
        first = list(dict.fromkeys([*labels, *top]))
        return [*first, *(index for index in range(len(grid)) if index not in first)]
    cells = grid.reshape(len(grid), -1)
    leading = np.unique(np.argpartition(-cells, _CELL_TOP, axis=0)[:_CELL_TOP])
    by_best = leading[np.argsort(-cells[leading].max(axis=1), kind="stable")]
    kept = list(dict.fromkeys([*labels, *top, *(int(index) for index in by_best)]))
    if most is not None:
        kept = list(dict.fromkeys([*kept, *np.argsort(-cells.mean(axis=1), kind="stable").tolist()]))
    return kept[: max(room, len(labels))]


def thumbnail(pixels: npt.NDArray[np.uint8]) -> tuple[str, tuple[int, int]]:
    """A photo made small, as a ``data:`` address, and its (width, height) in pixels."""
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = pixels if scale == 1.0 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode(), size
