"""Tars of WebDataset: how members make samples, and what is left out and named."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.data import open_data, read_mask
from onnx_gapmil.data.photos import locate_photos
from onnx_gapmil.errors import DataError, ImageError
from onnx_gapmil.images.decode import read_image
from tests.helpers.layouts import add_member


def jpeg(level: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (level, 120, 30)).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, members: list[tuple[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            if not isinstance(content, bytes):
                content = (content if isinstance(content, str) else json.dumps(content)).encode()
            add_member(tar, name, content)
    return path


def keys(path: Path) -> list[str]:
    return [sample.name for sample in open_data(path).samples]


def told(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        open_data(path, **options)
    return str(caught.value)


def test_classes_json_and_texts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tar",
        [
            ("x/0.jpg", jpeg(1)),
            ("x/0.cls", "3\n"),
            ("x/0.json", {"label": 9, "camera": "old", "exif": {"iso": 3}, "boxes": [[1, 2, 20, 20]]}),
            ("x/1.png", jpeg(2)),
            ("x/1.json", {"label": 4}),
            ("x/2.a.webp", jpeg(3)),
            ("x/2.txt", " 5 "),
        ],
    )
    data = open_data(path)
    assert (data.kind, data.notes) == ("webdataset", ())
    assert data.source == f"a.tar in {tmp_path}: 3 images, 3 labels, 1 box."
    assert [(sample.name, sample.labels) for sample in data.samples] == [
        ("a.tar#x/0", (3,)),
        ("a.tar#x/1", (4,)),
        ("a.tar#x/2", (5,)),
    ]
    assert data.samples[0].columns == (("camera", "old"),)
    assert data.samples[0].boxes[0].box == (1, 2, 20, 20)
    assert [int(read_image(sample.image)[0, 0, 0]) for sample in data.samples] == [1, 2, 3]
    assert str(data.samples[1].image) == f"{path}#x/1.png"


def test_a_folder_and_a_range_of_tars(tmp_path: Path) -> None:
    for shard in range(3):
        write(tmp_path / f"val-{shard:06}.tar", [("0.jpg", jpeg(shard)), ("0.cls", str(shard))])
    assert keys(tmp_path) == ["val-000000.tar#0", "val-000001.tar#0", "val-000002.tar#0"]
    assert keys(tmp_path / "val-{000001..000002}.tar") == ["val-000001.tar#0", "val-000002.tar#0"]


def test_a_mask_beside_its_image(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.pad(np.full((10, 10), 255, np.uint8), 10)[:, :]).save(stream, "PNG")
    image = io.BytesIO()
    Image.new("RGB", (30, 30)).save(image, "PNG")
    path = write(tmp_path / "a.tar", [("0.png", image.getvalue()), ("0.cls", "1"), ("0.mask.png", stream.getvalue())])
    mask = open_data(path).samples[0].mask
    assert mask is not None
    assert read_mask(mask, (30, 30)).sum() == 100


@pytest.mark.parametrize("cut", [1, 700, 5000])
def test_a_torn_tar_keeps_what_is_whole(tmp_path: Path, cut: int) -> None:
    noise = np.random.default_rng(0).bytes(9000)
    path = write(tmp_path / "a.tar", [("0.jpg", jpeg()), ("0.cls", "1"), ("1.jpg", noise), ("1.cls", "2")])
    with tarfile.open(path) as tar:
        at = tar.getmember("1.jpg").offset_data
    path.write_bytes(path.read_bytes()[: at + cut])
    data = open_data(path)
    assert [sample.name for sample in data.samples] == ["a.tar#0"]
    assert data.notes == ("1 torn end of a shard is left out (cut short): a.tar in 1.jpg.",)


def test_a_tar_that_is_cut_between_members_or_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [("0.jpg", jpeg()), ("0.cls", "1"), ("1.jpg", jpeg()), ("1.cls", "2")])
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        at = tar.getmember("1.jpg").offset
    path.write_bytes(whole[:at])
    assert open_data(path).notes == ("1 torn end of a shard is left out (cut short): a.tar behind 0.cls.",)
    path.write_bytes(whole[:at] + b"?" * 512 + whole[at + 512 :])
    assert open_data(path).notes == ("1 torn end of a shard is left out (damaged): a.tar behind 0.cls.",)
    path.write_bytes(whole + whole)
    assert open_data(path).notes[0].startswith("1 torn end of a shard is left out (behind the mark of the tar's end)")


def test_samples_that_cannot_be_used_are_left_out_and_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tar",
        [
            ("ok.jpg", jpeg()),
            ("ok.cls", "1"),
            ("ok.cls", "2"),
            ("alone.cls", "1"),
            ("bare.jpg", jpeg()),
            ("unknown.jpg", jpeg()),
            ("unknown.cls", "-1"),
            ("broken.jpg", jpeg()),
            ("broken.json", "{"),
            ("ok.jpg", jpeg()),
            ("ok.cls", "7"),
        ],
    )
    data = open_data(path)
    assert [(sample.name, sample.labels) for sample in data.samples] == [("a.tar#ok", (1,))]
    assert data.notes[:3] == (
        "1 member is left out (its sample has one of that ending): a.tar#ok.cls.",
        "1 sample is left out (no image): a.tar#alone.",
        "1 sample is left out (no label in .cls, .json or .txt): a.tar#bare (it has .jpg).",
    )
    assert data.notes[3:] == (
        "1 sample is left out (a label of -1: the class is not known): a.tar#unknown.",
        "1 sample is left out (no label, or fields that cannot be used): "
        f"a.tar#broken ({path}, broken.json: not JSON: Expecting property name enclosed in double quotes (line 1, "
        "column 2)).",
        "1 sample is left out (its key was there before; members of one key have to be in a row): a.tar#ok.",
    )


def test_a_sample_without_a_label_is_told_with_what_it_has(tmp_path: Path) -> None:
    """A key ends at the first dot of the name: of `0.v2.cls` it is `0`, and `.v2.cls` is no class."""
    path = write(
        tmp_path / "a.tar",
        [("0.v2.jpg", jpeg()), ("0.v2.cls", "1"), ("1.jpg", jpeg()), ("1.json", {"annotations": [], "width": 3})],
    )
    assert (
        "2 samples are left out (no label in .cls, .json or .txt): a.tar#0 (it has .v2.jpg, .v2.cls), a.tar#1 (it has "
        ".jpg, .json, its .json the fields 'annotations', 'width')."
    ) in told(path)


def test_members_that_climb_out_or_are_no_files_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("../0.jpg", "/etc/0.jpg", "a/../../0.jpg", "..\\0.jpg"):
            add_member(tar, name, jpeg())
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        add_member(tar, "._2.jpg", b"of a Mac")
        add_member(tar, "2.jpg", jpeg())
        add_member(tar, "2.cls", b"1")
    data = open_data(path)
    assert [sample.name for sample in data.samples] == ["a.tar#2"]
    assert data.notes[0].startswith(
        "4 members are left out (a name that leads out of the tar): a.tar#../0.jpg, a.tar#/et"
    )
    assert data.notes[1] == "1 member is left out (a link, a device or a sparse file): a.tar#1.jpg."


def test_a_label_of_too_many_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [("0.jpg", jpeg()), ("0.cls", "1" * 70_000), ("1.jpg", jpeg()), ("1.cls", "1")])
    assert open_data(path).notes == ("1 sample is left out (a label of too many bytes): a.tar#0.cls.",)


def test_bytes_that_are_no_image_fail_by_their_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [("0.jpg", b"no image"), ("0.cls", "1")])
    with pytest.raises(ImageError, match=r"a\.tar#0\.jpg: no image in a format that is read"):
        read_image(open_data(path).samples[0].image)


def test_a_tar_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [("0.jpg", jpeg()), ("0.cls", "1")])
    sample = open_data(path).samples[0]
    path.write_bytes(b"short")
    with pytest.raises(ImageError, match="cut short since it was listed"):
        read_image(sample.image)


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (("train.tar", "val.tar"), "train.tar, val.tar"),
        (
            ("set-train-0000.tar", "set-train-0001.tar", "set-validation-0000.tar"),
            "set-train-*.tar, set-validation-0000.tar",
        ),
        (("0-train.tar", "1-train.tar", "0-test.tar"), "0-test.tar, *train*.tar"),
        (("my-test-train-0.tar", "my-test-val-0.tar"), "my-test-train-0.tar, my-test-val-0.tar"),
    ],
)
def test_tars_of_several_splits_are_not_measured_together(tmp_path: Path, names: tuple[str, ...], listed: str) -> None:
    for name in names:
        write(tmp_path / name, [("0.jpg", jpeg()), ("0.cls", "1")])
    assert told(tmp_path).endswith(f"it has the shards of several splits; give one, in quotes: {listed}.")
    for pattern in listed.split(", "):
        assert open_data(tmp_path / pattern).samples


def test_photos_of_all_splits_are_shown(tmp_path: Path) -> None:
    for name in ("train.tar", "val.tar"):
        write(tmp_path / name, [("0.jpg", jpeg()), ("0.cls", "1")])
    assert [photo.inside.as_posix() for photo in locate_photos([str(tmp_path)]).photos] == ["train/0", "val/0"]


def test_photos_that_can_be_used_are_shown_and_the_rest_is_told(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.tar", [("0.jpg", jpeg()), ("1.jpg", jpeg()), ("0.jpg", jpeg())]).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:1560])
    (tmp_path / "c.tar").write_bytes(b"")
    found = locate_photos([str(tmp_path)])
    assert [photo.inside.as_posix() for photo in found.photos] == ["a/0", "a/1", "b/0"]
    assert found.notes == (
        "1 sample is left out (its key was there before; members of one key have to be in a row): a.tar#0.",
        "1 torn end of a shard is left out (cut short): b.tar in 1.jpg.",
        "1 shard is left out (no tar): c.tar (empty file).",
    )
    with pytest.raises(DataError, match=r"c\.tar .*: no image was found\. 1 shard is left out \(no tar\): c\.tar"):
        locate_photos([str(tmp_path / "c.tar")])


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.zst", "A.TAR.XZ", "a.zip"])
def test_archives_are_told_by_their_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"x" * 2000))
    advice = "a compressed tar, and its members cannot be read one by one, so unpack it to a .tar"
    if name == "a.zip":
        advice = f"an archive: unpack it, or give it as zip://::{tmp_path / name}, which takes onnx-gapmil[remote]"
    assert f"{name}: this is {advice}" in told(tmp_path / name)
    assert f"no folder and no image; {name} is {advice}" in told(tmp_path)
    for given in (tmp_path / name, tmp_path):
        with pytest.raises(ImageError, match=re.escape(f"is {advice}")):
            locate_photos([str(given)])


def test_a_photo_whose_name_has_tar_in_it_is_a_photo(tmp_path: Path) -> None:
    (tmp_path / "of.tar.png").write_bytes(jpeg())
    assert [photo.path.name for photo in locate_photos([str(tmp_path / "of.tar.png")]).photos] == ["of.tar.png"]


def test_a_pointer_in_place_of_a_tar(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
    assert "(no tar): a.tar (a Git LFS pointer; run `git lfs pull`)" in told(tmp_path)


def test_what_is_no_tar_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(gzip.compress(b"x" * 2000))
    assert told(path).endswith(
        "the tar is compressed, and its members cannot be read one by one; gunzip it (photos are compressed "
        "themselves)."
    )
    path.write_bytes(b"")
    assert "1 shard is left out (no tar): a.tar" in told(path)
    write(path, [("readme.md", "x")])
    assert "1 sample is left out (no image): a.tar#readme" in told(path)
    assert told(path, labels="column").endswith("a tar has its labels inside; leave --labels column out.")
