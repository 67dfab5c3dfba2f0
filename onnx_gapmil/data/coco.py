"""COCO's object instances: one JSON file with `images`, `annotations` and `categories`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx_gapmil.data.files import ImageFinder, exists, is_unicode
from onnx_gapmil.data.records import MAX_BOXES, corners
from onnx_gapmil.data.types import RawBox, RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place

_CROWDS = "crowds"


def crowds_said(crowds: int) -> str:
    """What becomes of annotations that span many objects."""
    if crowds == 1:
        return "1 crowd keeps its label and loses its box."
    return f"{crowds:,} crowds keep their label and lose their box."


@dataclass(slots=True)
class CocoData:
    """What was read.

    Attributes:
        placed: samples, each with its place for messages.
        class_names: names of the categories, by their ids.
        notes: what was left out.
    """

    placed: list[tuple[RawSample, str]]
    class_names: tuple[str, ...]
    notes: list[str]


@dataclass(slots=True)
class _Image:
    boxes: list[RawBox] = field(default_factory=list)
    labels: dict[str | int, None] = field(default_factory=dict)


def is_coco(data: object) -> bool:
    """Whether parsed JSON has the lists of COCO's format."""
    return isinstance(data, dict) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list)


def image_folders(file: Place, data_folder: Place) -> list[Place]:
    """Where the images of `annotations/instances_val2017.json` may lie, the likeliest first."""
    split = file.stem.rsplit("_", 1)[-1]
    above = file.parent.parent if file.parent.name == "annotations" else file.parent
    tops = dict.fromkeys([data_folder, file.parent, above])
    return [
        folder
        for top in tops
        for name in (".", split, f"images/{split}", "images", "data")
        if (folder := top / name).is_dir()
    ]


def read_coco(path: Place, data: Mapping[str, Any], finder: ImageFinder) -> CocoData:
    """Read COCO's instances; an image's labels are the categories that occur in it.

    Boxes are `[x, y, width, height]`, measured from the upper left corner, which is 0 (format "object detection" of
    cocodataset.org). Crowds (`iscrowd`) keep their label and lose their box, which spans many objects. Segmentations
    are not read. Images without an annotation have no label.

    Args:
        path: the file, for messages.
        data: its JSON.
        finder: finds the images.

    Raises:
        DataError: names the image, category or annotation that is broken.
    """
    names = _categories(path, data.get("categories"))
    twice = sorted(name for name, times in Counter(names.values()).items() if times > 1)
    images: dict[object, _Image] = {}
    files: dict[object, str] = {}
    for number, item in enumerate(data["images"], 1):
        key, name = _field(item, "id", path, f"image {number}"), _field(item, "file_name", path, f"image {number}")
        if not isinstance(name, str) or key in images:
            raise DataError(f"{path}, image {number}: its id occurs twice, or 'file_name' is no text.")
        images[key], files[key] = _Image(), name
    left_out = _annotations(path, data["annotations"], names, images)
    placed = []
    for key, image in images.items():
        where = f"{path}, image {str(key)[:40]}"
        found = finder.find(files[key], where)
        if image.labels or exists(found):  # what is not there and has nothing on it is missed by nobody
            placed.append((RawSample(found, finder.name(found), tuple(image.labels), tuple(image.boxes)), where))
    if len(placed) < len(images):
        left_out["images without an annotation are not there and are left out"] = len(images) - len(placed)
    notes = [crowds_said(count) if what is _CROWDS else f"{count:,} {what}." for what, count in left_out.items()]
    if twice:  # Roboflow names a first category, of no annotation, after the project: that may be a class's name
        notes.append(
            f"Categories of one name are one class: {', '.join(twice[:5])}{', ...' if len(twice) > 5 else ''}."
        )
    return CocoData(placed, tuple(dict.fromkeys(names.values())), notes)


def _categories(path: Place, items: object) -> dict[object, str]:
    if not isinstance(items, list) or not items:
        raise DataError(f"{path}: it has no 'categories'; give COCO's instances_*.json, not captions or results.")
    found: dict[object, str] = {}
    for number, item in enumerate(items, 1):
        key, name = _field(item, "id", path, f"category {number}"), _field(item, "name", path, f"category {number}")
        if not isinstance(name, str) or not name.strip() or not is_unicode(name) or key in found:
            raise DataError(f"{path}, category {number}: its id occurs twice, or its name is no text.")
        found[key] = name.strip()
    numbered = sorted(key for key in found if isinstance(key, int))
    return {key: found[key] for key in numbered} | found


def _annotations(
    path: Place, items: list[object], names: Mapping[object, str], images: Mapping[object, _Image]
) -> Counter[str]:
    left_out: Counter[str] = Counter()
    for number, item in enumerate(items, 1):
        where = f"{path}, annotation {number}"
        category, key = _field(item, "category_id", path, where), _field(item, "image_id", path, where)
        if category not in names:
            raise DataError(f"{where}: category {str(category)[:40]} is not among the 'categories'.")
        if key not in images:
            raise DataError(f"{where}: image {str(key)[:40]} is not among the 'images'.")
        image = images[key]
        image.labels[names[category]] = None
        assert isinstance(item, dict)  # noqa: S101 (_field has seen to it)
        if item.get("iscrowd"):
            left_out[_CROWDS] += 1
        elif not item.get("bbox"):
            left_out["annotations without a box keep their label"] += 1
        else:
            x, y, width, height = corners(item["bbox"], where)
            image.boxes.append(RawBox((x, y, x + width, y + height), (names[category],)))
            if len(image.boxes) > MAX_BOXES:
                raise DataError(f"{where}: image {str(key)[:40]} has more than {MAX_BOXES:,} boxes.")
    return left_out


def _field(item: object, name: str, path: Place, where: str) -> object:
    value = item.get(name) if isinstance(item, dict) else None
    if value is None or isinstance(value, (dict, list, float)):
        place = where if where.startswith(str(path)) else f"{path}, {where}"
        raise DataError(f"{place}: {name!r} is missing or is neither a number nor text.")
    return value
