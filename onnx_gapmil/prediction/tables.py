"""Predictions as other tools read them: ``predictions.parquet``, a row a photo; ``predictions.coco.json``, the boxes.

Both are made of the entries of the report when a run ends, so that a run that was stopped and goes on writes the same.
"""

from __future__ import annotations

import itertools
import re
from typing import IO, TYPE_CHECKING, Any

from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.writing import whole_file
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from onnx_gapmil.prediction.report import Report

#: What can be asked for, and the file that it makes.
TABLES: Mapping[str, str] = {"coco": "predictions.coco.json", "parquet": "predictions.parquet"}
_ROWS = 1000
Entry = tuple[str, dict[str, Any]]


def write_tables(
    folder: Path, wanted: Iterable[str], report: Report, summary: Mapping[str, Any], *, interrupted: bool = False
) -> list[str]:
    """Write what was asked for.

    Args:
        folder: of the results.
        wanted: of `TABLES`.
        report: of the run.
        summary: what all entries have in common.
        interrupted: not all photos were done, which the files then say.

    Returns:
        The files' names.

    Raises:
        InputError: they cannot be written.
    """
    names = [TABLES[kind] for kind in sorted(wanted)]
    for name in names:
        with whole_file(folder / name) as stream:
            if name == TABLES["coco"]:
                for text in coco_chunks(report, summary, interrupted=interrupted):
                    stream.write(text.encode())
            else:
                write_rows(stream, report.entries(), summary, interrupted=interrupted)
    return names


# --- a row a photo ----------------------------------------------------------------------------------------------


def photo_schema() -> pa.Schema:
    """The columns of ``predictions.parquet``; indices are the model's classes, places pixels of the upright photo."""
    import pyarrow as pa

    four = pa.list_(pa.float64(), 4)
    winner = {"index": pa.int32(), "name": pa.string(), "cells": pa.int32(), "share": pa.float64()}
    box = {"index": pa.int32(), "name": pa.string(), "score": pa.float64(), "cells": pa.int32(), "box": four}
    return pa.schema(
        {
            "image": pa.string(),
            "name": pa.string(),
            "error": pa.string(),
            "width": pa.int32(),
            "height": pa.int32(),
            "head": pa.string(),
            "classes": pa.list_(pa.int32()),
            "class_names": pa.list_(pa.string()),
            "scores": pa.list_(pa.float64()),
            "logits": pa.list_(pa.float64()),
            "present": pa.list_(pa.int32()),
            "present_names": pa.list_(pa.string()),
            "winners": pa.list_(pa.struct({**winner, "score": pa.float64(), "place": four})),
            "none_cells": pa.int32(),
            "boxes": pa.list_(pa.struct(box)),
            "places": pa.struct({"grid": pa.list_(pa.int32()), "window": four}),
        }
    )


def write_rows(
    stream: IO[bytes], entries: Iterable[Entry], summary: Mapping[str, Any], *, interrupted: bool = False
) -> None:
    """Write a row for each photo and head, a thousand at a time.

    Args:
        stream: of the file.
        entries: of the report, in the order of the photos.
        summary: what they have in common, which goes into the file's metadata.
        interrupted: not all photos were done.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    said = {**summary, "interrupted": True} if interrupted else dict(summary)
    schema = photo_schema().with_metadata({"onnx-gapmil": json_text(said)})
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        rows = itertools.chain.from_iterable(_rows(*entry) for entry in entries)
        while part := list(itertools.islice(rows, _ROWS)):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))


def _rows(part: str, entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    photo = {"image": entry["image"], "name": entry.get("name")}
    if part == "failed":
        yield {**photo, "error": entry["error"]}
        return
    width, height = entry["size"] or (None, None)
    for head in entry["heads"]:
        yield {**photo, "width": width, "height": height, **_of_head(head, entry["size"])}


def _of_head(head: dict[str, Any], size: list[int] | None) -> dict[str, Any]:
    present, window = head["present"], head.get("window")
    return {
        "head": head["output"],
        "classes": [each["index"] for each in head["top"]],
        "class_names": [each["label"] for each in head["top"]],
        "scores": [each["score"] for each in head["top"]],
        "logits": [each["logit"] for each in head["top"]],
        "present": None if present is None else [each["index"] for each in present],
        "present_names": None if present is None else [each["label"] for each in present],
        "winners": [
            {
                **{key: each[key] for key in ("index", "cells", "share")},
                "name": each["label"],
                "score": each["best_score"],
                "place": _place(each["best_cell"], head["grid_shape"], window, size),
            }
            for each in head["winners"]
        ],
        "none_cells": head["none_cells"],
        "boxes": [{**each, "name": each["label"]} for each in head["boxes"]],
        "places": {"grid": head["grid_shape"], "window": window},
    }


def _place(cell: list[int], grid: list[int], window: list[float] | None, size: list[int] | None) -> list[float] | None:
    """A cell's rectangle in the photo, clipped to it; None where it is not known."""
    if window is None or size is None or len(grid) != 2:
        return None
    x0, y0, x1, y1 = window
    (row, column), (rows, columns) = cell, grid
    step = (x1 - x0) / columns, (y1 - y0) / rows
    corners = x0 + column * step[0], y0 + row * step[1], x0 + (column + 1) * step[0], y0 + (row + 1) * step[1]
    return [round(min(max(side, 0.0), float(size[place % 2])), 2) for place, side in enumerate(corners)]


# --- the boxes --------------------------------------------------------------------------------------------------


def coco_chunks(report: Report, summary: Mapping[str, Any], *, interrupted: bool = False) -> Iterator[str]:
    """The boxes as COCO writes detections: ``images``, ``categories`` of those that occur, ``annotations`` with scores.

    Category ids are the classes' numbers + 1 (0 is a background to some readers); those of a further head follow after
    the highest of the one before it. No two categories have one name, and no two images one file, since tools go by
    names: see `_told_apart` and `_image`.
    """
    info = {
        "description": f"Boxes around the cells in which {summary['model']} is sure of a class",
        "version": f"onnx-gapmil {__version__}",
        **({"interrupted": True} if interrupted else {}),
    }
    names, offsets, whole = _surveyed(report)
    yield f'{{\n"info": {json_text(info)},\n"licenses": [],\n"images": ['
    yield from _listed(_image(place, entry, whole=whole) for place, entry in _photos(report))
    yield '],\n"categories": ['
    yield from _listed(names)
    yield '],\n"annotations": ['
    yield from _listed(_annotations(report, offsets))
    yield "]\n}\n"


def _photos(report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """The photos that were done, numbered from 1."""
    return enumerate((entry for part, entry in report.entries() if part == "images"), 1)


def _image(place: int, entry: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    width, height = entry["size"]
    return {"id": place, "file_name": _file_name(entry, whole=whole), "width": width, "height": height}


def _file_name(entry: dict[str, Any], *, whole: bool) -> str:
    """Where tools look for a photo: its path within what was named, or the whole path, both as shards are unpacked."""
    image: str = entry["image"]
    if whole:
        return re.sub(r"\.(?:tar|parquet)#", "/", image, count=1)
    name: str = entry.get("name") or image
    return f"{name}{_ending_of_member(name, image)}"


def _ending_of_member(name: str, image: str) -> str:
    """What a member of a tar has behind its key, as `.left.png`: it is unpacked so, and tools look for that.

    "" of what is no member, whose name is whole.
    """
    key = re.escape(name.rpartition("/")[2])
    found = re.search(rf"#(?:.*/)?{key}(\.[^/]*)$", image)
    return found[1] if found is not None else ""


def _surveyed(report: Report) -> tuple[list[dict[str, Any]], dict[str, int], bool]:
    """What has to be known of all photos before one is written.

    Returns:
        The classes that have boxes; what is added to a class's number to make its id, by head; and whether photos need
        their whole paths, since two have one path within what was named (two folders were, each with such a photo).
    """
    found: dict[str, dict[int, str]] = {}
    paths: set[int] = set()  # hashes, far smaller than a million paths; two that met would only name paths whole
    for _, entry in _photos(report):
        paths.add(hash(_file_name(entry, whole=False)))
        for head in entry["heads"]:
            own = found.setdefault(head["output"], {})
            own.update((box["index"], box["label"]) for box in head["boxes"])
    offsets: dict[str, int] = {}
    listed: list[dict[str, Any]] = []
    first = 1
    for output, own in found.items():
        offsets[output] = first
        listed += [
            {"id": first + index, "name": name, "supercategory": output, "index": index}
            for index, name in sorted(own.items())
        ]
        first += max(own, default=-1) + 1
    _told_apart(listed)
    return listed, offsets, len(paths) < report.counts["images"]


def _told_apart(listed: list[dict[str, Any]]) -> None:
    """Give each category a name of its own: CVAT's reader ends at a name that comes twice, others mix their boxes.

    Classes of one name have their number behind it, and where several heads have that name, the head's as well.

    Args:
        listed: the categories, with ``index``, the class's number, which is taken out.
    """
    alike: dict[str, list[str]] = {}
    for each in listed:
        alike.setdefault(each["name"], []).append(each["supercategory"])
    taken = {name for name, heads in alike.items() if len(heads) == 1}
    for each in listed:
        index, heads = each.pop("index"), alike[each["name"]]
        if len(heads) == 1:
            continue
        each["name"] += f" ({index})" if len(set(heads)) == 1 else f" ({each['supercategory']} {index})"
        while each["name"] in taken:  # somebody called a class "crane (2)"
            each["name"] += f" ({index})"
        taken.add(each["name"])


def _annotations(report: Report, offsets: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    number = itertools.count(1)
    for place, entry in _photos(report):
        for head in entry["heads"]:
            for box in head["boxes"]:
                x0, y0, x1, y1 = box["box"]
                width, height = round(x1 - x0, 2), round(y1 - y0, 2)
                yield {
                    "id": next(number),
                    "image_id": place,
                    "category_id": offsets[head["output"]] + box["index"],
                    "bbox": [x0, y0, width, height],
                    "area": round(width * height, 2),
                    "iscrowd": 0,
                    "segmentation": [],  # CVAT wants the key, and takes an empty list for a box
                    "score": box["score"],
                }


def _listed(values: Iterable[dict[str, Any]]) -> Iterator[str]:
    separator = "\n"
    for value in values:
        yield separator + json_text(value)
        separator = ",\n"
    yield "\n" if separator != "\n" else ""
