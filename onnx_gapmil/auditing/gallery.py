"""The images that a reader should look at: chosen, run once more, made small, with maps of their telling classes."""

from __future__ import annotations

import base64
import itertools
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.two_classes import with_two_classes
from onnx_gapmil.data import check_sample
from onnx_gapmil.running.pipeline import iterate_batches
from onnx_gapmil.show.html.maps import encode_maps

if TYPE_CHECKING:
    from onnx_gapmil.auditing.journal import Record
    from onnx_gapmil.auditing.measuring import Run
    from onnx_gapmil.auditing.preparation import Subject
    from onnx_gapmil.data import Sample
    from onnx_gapmil.images.geometry import Geometry

#: Longer side of a thumbnail in pixels, and its JPEG quality.
_SIDE, _QUALITY = 288, 80
#: Classes of one image whose maps are kept, at the most.
_CLASSES = 32
#: A cell's first classes, which are among them.
_CELL_TOP = 5


def is_right(record: Record) -> bool:
    """Whether the image is answered rightly at top-1."""
    return bool(record["measures"]["right"])


def choose(records: tuple[Record, ...], most: int) -> list[int]:
    """Choose images, the most telling first: causes of errors in turn, then right answers.

    Within a cause come first the errors whose object knew best what it is (the largest share of foreground cells that
    are right), and of those where no cell knew it the surest; of right answers those with the least on the object.

    Args:
        records: of all images.
        most: how many at the most.

    Returns:
        Places in ``records``.
    """
    groups: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        if "error" not in record:
            groups.setdefault(_kind(record), []).append(place)
    for kind, members in groups.items():
        members.sort(key=lambda place: (_telling(records[place], kind), place))
    wrong = [groups[kind] for kind in ("dilution", "distraction", "absent", "wrong") if kind in groups]
    turns = [place for turn in itertools.zip_longest(*wrong) for place in turn if place is not None]
    right = groups.get("right", [])
    kept_right = min(len(right), max(most - len(turns), most // 5))
    return [*turns[: most - kept_right], *right[:kept_right]]


def _kind(record: Record) -> str:
    if is_right(record):
        return "right"
    return str(record["measures"].get("cause") or "wrong")


def _telling(record: Record, kind: str) -> float:
    """Smaller is more telling."""
    found = record["measures"].get("foreground") or {}
    share = float(found.get("cell_share") or 0.0)
    if kind == "right":
        return share
    return -share if share > 0 else -float(record["top"][0][1])


def build_gallery(run: Run, most: int) -> tuple[dict[str, Any], set[int]]:
    """The gallery of ``report.html`` and the classes that it names; see `onnx_gapmil.auditing.page.write_report`."""
    chosen = choose(run.records, most)
    samples = [run.exhibit.samples[place] for place in chosen]
    total = sum("error" not in record for record in run.records)
    images: list[dict[str, Any]] = []
    batches = iterate_batches(
        run.subject.session,
        run.exhibit.preprocess.preprocess,
        [sample.image for sample in samples],
        batch=run.request.batch,
        keep_photos=True,
        outputs=("grid",),
    )
    for batch in batches:
        for row, photo in enumerate(batch.photos):
            grid = batch.grids[run.subject.place].grid
            if grid is None or photo.pixels is None:
                raise TypeError("a gallery needs pixels and grids")
            images.append(
                _entry(
                    run.subject,
                    samples[photo.place],
                    run.records[chosen[photo.place]],
                    photo.pixels,
                    photo.geometry,
                    with_two_classes(grid[row]),
                )
            )
    note = "" if len(images) == total else f"The {len(images)} most telling of {total} images; --gallery N shows more."
    named = {
        index
        for image in images
        for index in (*image["classes"], *image["labels"], *itertools.chain(*image["box_classes"]))
    }
    return {"total": total, "shown": len(images), "note": note, "images": images}, named


def _entry(
    subject: Subject,
    sample: Sample,
    record: Record,
    pixels: npt.NDArray[np.uint8],
    geometry: Geometry,
    grid: npt.NDArray[np.float64],
) -> dict[str, Any]:
    height, width = geometry.image_size
    thumb, size = _thumbnail(pixels)
    measures = record["measures"]
    classes = telling_classes(grid, [index for index, _ in record["top"]], measures["labels"])
    x0, y0 = geometry.to_image(0.0, 0.0)
    x1, y1 = geometry.to_image(float(geometry.input_size[1]), float(geometry.input_size[0]))
    boxes = check_sample(sample, (height, width)).boxes
    return {
        "name": sample.name,
        "labels": measures["labels"],
        "prediction": record["top"],
        "right": is_right(record),
        "cause": measures.get("cause"),
        "recoverable": bool(measures.get("recoverable")),
        "thumb": thumb,
        "size": list(size),
        "window": [x0 / width, y0 / height, x1 / width, y1 / height],
        "boxes": [
            [round(side / scale, 5) for side, scale in zip(box.box, (width, height, width, height), strict=True)]
            for box in boxes
        ],
        "box_classes": [list(box.classes) for box in boxes],
        "foreground": measures.get("foreground_cells") or [],
        **encode_maps(grid, classes),
        **({} if subject.arranged else {"grid": None}),
    }


def telling_classes(grid: npt.NDArray[np.float64], top: list[int], labels: list[int]) -> list[int]:
    """The classes whose maps are worth keeping: true ones, the image's first, and the first of every cell.

    Args:
        grid: (K, H, W).
        top: the image's first classes.
        labels: the true ones.

    Returns:
        At most 32, or all labels if they are more; true ones and the image's first before the others, which come by
        their highest logit.
    """
    if len(grid) <= _CLASSES:
        first = list(dict.fromkeys([*labels, *top]))
        return [*first, *(index for index in range(len(grid)) if index not in first)]
    cells = grid.reshape(len(grid), -1)
    leading = np.unique(np.argpartition(-cells, _CELL_TOP, axis=0)[:_CELL_TOP])
    by_best = leading[np.argsort(-cells[leading].max(axis=1), kind="stable")]
    kept = list(dict.fromkeys([*labels, *top, *(int(index) for index in by_best)]))
    return kept[: max(_CLASSES, len(labels))]


def _thumbnail(pixels: npt.NDArray[np.uint8]) -> tuple[str, tuple[int, int]]:
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = pixels if scale == 1.0 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode(), size
