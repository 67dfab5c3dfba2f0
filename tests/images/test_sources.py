import os
from pathlib import Path

import pytest

from onnx_gapmil.errors import ImageError
from onnx_gapmil.images.sources import find_images, locate_images


@pytest.fixture
def photos(tmp_path, monkeypatch):
    for name in (
        *("img10.jpg", "img2.JPG", "notes.txt", ".hidden.png"),
        *("birds/b.png", "cats/a.webp", ".cache/c.png", "empty/readme.md"),
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def names(paths):
    return [path.as_posix() for path in paths]


def test_a_folder_is_searched_deeply_in_natural_order_without_hidden_files(photos):
    assert names(find_images(["photos"])) == [
        "photos/birds/b.png",
        "photos/cats/a.webp",
        "photos/img2.JPG",
        "photos/img10.jpg",
    ]


def test_arguments_keep_their_order_and_nothing_is_listed_twice(photos):
    found = find_images(["photos/img10.jpg", "photos/*", "photos/./img2.JPG", str(photos / "img10.jpg")])
    assert names(found) == ["photos/img10.jpg", "photos/img2.JPG"]


def test_a_file_named_by_itself_is_taken_whatever_its_ending(photos):
    assert names(find_images(["photos/notes.txt"])) == ["photos/notes.txt"]


def test_globs_work_relative_absolute_and_deep(photos):
    assert names(find_images(["photos/img?.*"])) == ["photos/img2.JPG"]
    assert names(find_images([f"{photos}/*/b.png"])) == [f"{photos.as_posix()}/birds/b.png"]
    assert names(find_images(["**/*.webp"])) == ["photos/cats/a.webp"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(photos):
    (photos / "a[1].png").write_bytes(b"x")
    assert names(find_images(["photos/a[1].png"])) == ["photos/a[1].png"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "No image was named"),
        (["photos/none.jpg"], "photos/none.jpg: no such file"),
        (["photos/*.bmp"], "nothing matches"),
        (["photos/*.txt"], "none an image"),
        (["photos/empty"], "holds no image"),
        (["photos", "gone"], "gone: no such file"),
        (["a\0b"], "no such file"),
    ],
)
def test_what_matches_nothing_is_an_error(photos, args, says):
    with pytest.raises(ImageError, match=says.replace("*", r"\*")):
        find_images(args)


def test_each_image_is_known_by_its_place_in_what_was_named(photos: Path) -> None:
    def inside(*args: str) -> list[str]:
        return [found.inside.as_posix() for found in locate_images(args)]

    assert inside("photos/birds") == ["b.png"]
    assert set(inside("photos")) >= {"birds/b.png", "cats/a.webp"}
    assert inside("photos/*/b.png") == ["birds/b.png"]
    assert inside("**/b.png") == ["photos/birds/b.png"]
    assert inside(str(photos / "birds" / "b.png")) == ["b.png"]


def test_a_folder_of_results_inside_is_left_out(photos: Path) -> None:
    def names(*args: str, without: str) -> set[str]:
        return {found.inside.as_posix() for found in locate_images(args, without=Path(without))}

    everything = names("photos", without="elsewhere")
    assert names("photos", without="photos/birds") == everything - {"birds/b.png"}
    assert names("photos", without="photos") == everything
    assert names("photos/birds", without="photos/birds") == {"b.png"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes that have a name")
def test_a_pipe_is_told_for_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(ImageError, match=r"a\.tar: this is a pipe, and an image was expected; only regular files"):
        find_images([str(tmp_path / "a.tar")])
