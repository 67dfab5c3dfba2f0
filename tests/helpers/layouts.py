"""One labelled data set in several layouts: the same photos, labels, boxes and columns."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers.scene_data import SCENES, entries

DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class Item:
    """A photo and what is known of it; boxes are [x0, y0, x1, y1], with a label each."""

    name: str
    data: bytes
    label: int
    boxes: Sequence[Sequence[float]] = ()
    box_labels: Sequence[int] = ()
    columns: dict[str, str] = field(default_factory=dict)


def replaced(item: Item, **changed: Any) -> Item:
    """The same with other fields."""
    return replace(item, **changed)


def scenes(copies: int = 1) -> list[Item]:
    """The scenes of the sample models, with a column."""
    found = []
    for copy in range(copies):
        for number, entry in enumerate(entries()):
            found.append(
                Item(
                    f"{copy:02d}_{entry['image']}",
                    (SCENES / entry["image"]).read_bytes(),
                    entry["label"],
                    [thing["box"] for thing in entry["objects"]],
                    [thing["class"] for thing in entry["objects"]],
                    {"light": "day" if number % 2 else "night"},
                )
            )
    return found


def as_csv(folder: Path, items: Sequence[Item]) -> Path:
    """A table beside its photos."""
    folder.mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "label", "boxes", "box_labels", *items[0].columns])
        for item in items:
            (folder / item.name).write_bytes(item.data)
            boxes, labels = json.dumps(item.boxes), json.dumps(list(item.box_labels))
            table.writerow([item.name, item.label, boxes, labels, *item.columns.values()])
    return folder


def hugging_face(**features: Any) -> dict[bytes, bytes]:
    """The schema's metadata, as the `datasets` library writes them."""
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def class_label(names: Sequence[str]) -> dict[str, Any]:
    """Its feature of a ClassLabel."""
    return {"names": list(names), "_type": "ClassLabel"}


IMAGE = {"_type": "Image"}


def parquet_table(items: Sequence[Item], names: Sequence[str] = DIGITS) -> pa.Table:
    """Rows as the `datasets` library writes an object detection data set with a class of the image."""
    objects = [
        {
            "bbox": [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in item.boxes],
            "category": list(item.box_labels),
        }
        for item in items
    ]
    kinds = pa.struct({"bbox": pa.list_(pa.list_(pa.float32(), 4)), "category": pa.list_(pa.int64())})
    columns: dict[str, pa.Array] = {
        "image": pa.array(
            [{"bytes": item.data, "path": item.name} for item in items],
            pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        ),
        "label": pa.array([item.label for item in items], pa.int64()),
        "objects": pa.array(objects, kinds),
    }
    columns |= {name: pa.array([item.columns[name] for item in items]) for name in items[0].columns}
    features = {
        "image": IMAGE,
        "label": class_label(names),
        "objects": {
            "bbox": {"feature": {"feature": {"dtype": "float32", "_type": "Value"}, "length": 4, "_type": "List"}},
            "category": {"feature": class_label(names), "_type": "List"},
        },
    }
    return pa.table(columns).replace_schema_metadata(hugging_face(**features))


def as_parquet(folder: Path, items: Sequence[Item], shards: int = 2) -> Path:
    """Shards with the names that the Hub gives them, three rows a row group."""
    folder.mkdir(parents=True)
    size = -(-len(items) // shards)
    for shard in range(shards):
        table = parquet_table(items[shard * size : (shard + 1) * size])
        pq.write_table(table, folder / f"test-{shard:05}-of-{shards:05}.parquet", row_group_size=3)
    return folder


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A file in a tar."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def as_tar(folder: Path, items: Sequence[Item], shards: int = 2) -> Path:
    """WebDataset's: class in `.cls`, boxes and columns in `.json`."""
    folder.mkdir(parents=True)
    size = -(-len(items) // shards)
    for shard in range(shards):
        with tarfile.open(folder / f"test-{shard:06}.tar", "w") as tar:
            for item in items[shard * size : (shard + 1) * size]:
                stem = item.name.partition(".")[0]
                more = {"boxes": item.boxes, "box_labels": list(item.box_labels), **item.columns}
                add_member(tar, item.name, item.data)
                add_member(tar, f"{stem}.cls", str(item.label).encode())
                add_member(tar, f"{stem}.json", json.dumps(more).encode())
    return folder
