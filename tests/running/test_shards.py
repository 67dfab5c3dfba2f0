"""Which batches belong to which shard, and which shards belong together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil.errors import InputError
from onnx_gapmil.running.shards import JOURNAL, MARK, Shard, ShardResult, find_shards, machines_note, shard_of

KEYS = [f"class_{place % 7}/{place:05}.jpg" for place in range(1001)]


def mark(folder: Path, shard: str, **changed: Any) -> Path:
    """A folder with a finished shard."""
    content: dict[str, Any] = {
        "verb": "audit",
        "shard": shard,
        "images": 9,
        "done": 3,
        "failed": 0,
        "folder": str(folder),
        "machine": "a chip, 2 threads",
        "identity": {"model file": "abc", "data set": "def"},
    }
    folder.mkdir(parents=True)
    ShardResult(**{**content, **changed}).save(folder)
    return folder


@pytest.mark.parametrize("text", ["", "4", "4/4", "-1/4", "1/0", "0/0", "1.0/4", "01/4", "1/4/2", " 1/4", "a/b", "٣/4"])
def test_what_is_no_shard_is_told(text: str) -> None:
    with pytest.raises(InputError, match="is no shard: i/N with i from 0 to N - 1"):
        Shard.parse(text)


def test_a_shard_is_its_text() -> None:
    assert str(Shard.parse("3/4")) == "3/4"
    assert shard_of("0/1") == Shard(0, 1) == shard_of(Shard(0, 1))
    assert shard_of(None) is None


@pytest.mark.parametrize("count", [1, 2, 7, 64, 2000])
def test_shards_divide_the_batches_evenly(count: int) -> None:
    parts = [Shard(index, count).places(KEYS) for index in range(count)]
    assert sorted(place for part in parts for place in part) == list(range(len(KEYS)))
    assert all(part == sorted(part) for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shards_do_not_follow_the_order_of_the_data() -> None:
    """Every seventh image is of one class: dealt out in the data's order, each of 7 shards would get one class."""
    classes = {KEYS[place].split("/")[0] for place in Shard(2, 7).places(KEYS)}
    assert len(classes) == 7


def test_the_division_is_the_same_for_ever() -> None:
    assert Shard(1, 3).places([f"{letter}.png" for letter in "abcdefgh"]) == [4, 5, 7]


def test_shards_are_found_in_any_order(tmp_path: Path) -> None:
    folders = [mark(tmp_path / str(index), f"{index}/3") for index in (2, 0, 1)]
    found = find_shards(folders)
    assert [str(each.shard) for each in found] == ["0/3", "1/3", "2/3"]
    assert machines_note(found) == ""


def test_different_machines_are_noted(tmp_path: Path) -> None:
    found = find_shards([mark(tmp_path / "a", "0/2"), mark(tmp_path / "b", "1/2", machine="another chip, 8 threads")])
    assert "2 kinds of machine (a chip, 2 threads; another chip, 8 threads)" in machines_note(found)


def test_missing_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Missing: shard 0/4, 3/4\. Run audit with --shard 0/4"):
        find_shards([mark(tmp_path / "b", "1/4"), mark(tmp_path / "c", "2/4")])


def test_a_shard_that_is_there_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a and .*b are both shard 1/2"):
        find_shards([mark(tmp_path / "a", "1/2"), mark(tmp_path / "b", "1/2"), mark(tmp_path / "c", "0/2")])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"identity": {"model file": "abd", "data set": "def"}}, "another model file"),
        ({"identity": {"model file": "abc", "data set": "xyz"}}, "another data set"),
        ({"identity": {"model file": "abc", "data set": "def", "threshold": "1"}}, "another threshold"),
        ({"images": 10}, "another number of images"),
        ({"verb": "compare"}, "is a shard of audit, .* one of compare"),
        ({"shard": "1/3"}, "parts of different divisions"),
    ],
)
def test_a_shard_of_another_run_is_named(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    folders = [mark(tmp_path / "a", "0/2"), mark(tmp_path / "b", **{"shard": "1/2", **changed})]
    with pytest.raises(InputError, match=said):
        find_shards(folders)


def test_an_unfinished_shard_is_told_from_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "half" / JOURNAL).mkdir(parents=True)
    with pytest.raises(InputError, match=r"half: its shard is not finished; run its command again"):
        find_shards([tmp_path / "half"])
    with pytest.raises(InputError, match="holds no shard"):
        find_shards([tmp_path])
    with pytest.raises(InputError, match="No folder"):
        find_shards([])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"shard": 3}', "null", "[" * 100_000])
def test_a_mark_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    folder = mark(tmp_path / "a", "0/1")
    (folder / MARK).write_text(text)
    with pytest.raises(InputError, match="is not what a finished shard writes"):
        find_shards([folder])


def test_a_mark_with_a_key_too_many_is_told(tmp_path: Path) -> None:
    folder = mark(tmp_path / "a", "0/1")
    (folder / MARK).write_text(json.dumps({**json.loads((folder / MARK).read_text()), "more": 1}))
    with pytest.raises(InputError, match="'more' is not known"):
        find_shards([folder])
