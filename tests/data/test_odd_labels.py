"""A refusal of all labels names those that stand out, how many images have them and the first of these."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onnx_gapmil.data import open_data, resolve_classes
from onnx_gapmil.data.odd_labels import odd_labels
from onnx_gapmil.data.types import Label, RawBox, RawSample
from onnx_gapmil.errors import DataError


def samples(*labels: Label) -> list[RawSample]:
    return [RawSample(Path(f"/d/{place}.png"), f"{place}.png", (label,)) for place, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (
            (0, 1, 5, 7, 7),
            " 2 labels are beyond the model's 5 classes: 5 (1 image, the first 2.png), 7 (2 images, ",
        ),
        (("0", "1", "cat"), " 1 label is a name, and others are not: 'cat' (1 image, the first 2.png)."),
        ((0, "cat", "dog"), " 1 label is a number, and others are not: 0 (1 image, the first 0.png)."),
        (("cat", "dog"), ""),
        ((8, 9), ""),  # all of them: nothing stands out
        ((0, 1), ""),
    ],
)
def test_odd_labels(labels: tuple[Label, ...], expected: str) -> None:
    found = odd_labels(samples(*labels), list(dict.fromkeys(labels)), 5)
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def test_an_offset_moves_the_range_and_boxes_have_labels_too() -> None:
    given = [*samples(0, 4), RawSample(Path("/d/b.png"), "b.png", (1,), (RawBox((0, 0, 1, 1), (6,)),))]
    found = odd_labels(given, [0, 4, 1, 6], 5, 1)
    assert found == (
        " 2 labels are beyond the model's 5 classes: 4 (1 image, the first 1.png), 6 (1 image, the first b.png)."
    )


@pytest.mark.parametrize("offset", [None, 0])
def test_what_is_out_of_range_is_named_where_a_data_set_is_refused(tmp_path: Path, offset: int | None) -> None:
    lines = "".join(f"{place}.png,{label}\n" for place, label in enumerate((0, 1, 2, 77, 77)))
    (tmp_path / "labels.csv").write_text(f"image,label\n{lines}")
    (tmp_path / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"77 \(2 images, the first 3\.png\)"):
        resolve_classes(open_data(tmp_path), classes=6, offset=offset)


def test_a_folder_whose_tables_have_no_images_says_which_columns_there_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": [0, 1], "text": ["a", "b"]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet has no column of images \(its columns are 'label', 'text'\)"):
        open_data(tmp_path)


def test_a_label_of_minus_one_among_numbers_is_named(tmp_path: Path) -> None:
    lines = "".join(f"{place}.png,{label}\n" for place, label in enumerate((-1, 2, 1)))
    (tmp_path / "labels.csv").write_text(f"image,label\n{lines}")
    (tmp_path / "0.png").write_bytes(b"")
    said = (
        r"a class has to be 0 or more: '-1' \(1 image, the first 0\.png\)\. Where -1 says that the class is not known"
    )
    for names in (None, ["cat", "dog", "owl"]):
        with pytest.raises(DataError, match=said):
            resolve_classes(open_data(tmp_path), classes=3, names=names)
    found = resolve_classes(open_data(tmp_path), classes=4, names=["-1", "0", "1", "2"])  # these are its names
    assert found.table == {"-1": (0,), "2": (3,), "1": (2,)}
