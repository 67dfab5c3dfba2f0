"""ImageNet's list of classes, where it lies near the photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_gapmil.data.synsets import find_synset_mapping

LINES = ("n01440764 tench, Tinca tinca", "n01443537 goldfish, Carassius auratus")


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("above", ["a/b/c", "a/b", "a"])
@pytest.mark.parametrize("name", ["LOC_synset_mapping.txt", "synset_words.txt"])
def test_the_list_is_found_in_the_folder_and_up_to_two_above(tmp_path: Path, deep: Path, above: str, name: str) -> None:
    (tmp_path / above / name).write_text("\n".join(LINES) + "\n\n", encoding="utf-8")
    assert find_synset_mapping(deep) == LINES


def test_three_above_is_somebody_elses(tmp_path: Path, deep: Path) -> None:
    (tmp_path / "LOC_synset_mapping.txt").write_text("\n".join(LINES))
    assert find_synset_mapping(deep) is None


def test_the_nearest_list_counts(tmp_path: Path, deep: Path) -> None:
    (tmp_path / "a" / "synset_words.txt").write_text(LINES[0])
    (deep / "synset_words.txt").write_text(LINES[1])
    assert find_synset_mapping(deep) == LINES[1:]


@pytest.mark.parametrize("text", ["", "\n \n", "tench\n", "n01440764\n", f"{LINES[0]}\nn0144353 goldfish\n"])
def test_a_file_of_the_name_that_is_no_such_list_is_passed_over(deep: Path, text: str) -> None:
    (deep / "LOC_synset_mapping.txt").write_text(text)
    assert find_synset_mapping(deep) is None
    (deep.parent / "synset_words.txt").write_text(LINES[0])
    assert find_synset_mapping(deep) == LINES[:1]
