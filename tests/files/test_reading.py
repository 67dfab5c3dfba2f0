"""A file that somebody else made: every everyday mishap is one sentence of the caller's own error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnx_gapmil.errors import ImageError, InputError, LabelsError
from onnx_gapmil.files.reading import open_regular, read_bytes


def said(path: Path, error: type[InputError] = ImageError, limit: int = 10) -> str:
    with pytest.raises(error) as caught:
        read_bytes(path, error, expected="an image", limit=limit)
    assert type(caught.value) is error
    return str(caught.value)


def test_a_file_up_to_the_limit_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(10)))
    assert read_bytes(path, ImageError, expected="an image", limit=10) == bytes(range(10))


def test_a_byte_more_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(1234))
    assert said(path, limit=1233) == f"{path}: 1,234 bytes are more than an image should have (1,233)."


def test_what_is_not_there_is_a_folder_or_is_no_path(tmp_path: Path) -> None:
    assert said(tmp_path / "a") == f"{tmp_path / 'a'}: no such file, and an image was expected; check the path."
    assert said(Path("s3://b/a")) == "s3:/b/a is a URL, and an image is read from a file of this machine; fetch it."
    folder = f"{tmp_path}: this is a folder, and an image was expected; name the file in it."
    assert said(tmp_path, LabelsError) == folder
    assert "cannot be read" in said(tmp_path / "a\0b")


def test_a_git_lfs_pointer_is_told_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert said(path, limit=1000) == f"{path}: this is a Git LFS pointer, not the file itself; run `git lfs pull`."


def test_its_size_can_be_refused_in_other_words_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")

    def inspect(size: int) -> None:
        raise ImageError(f"{size} bytes are no image.")

    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    with pytest.raises(ImageError, match=r"^5 bytes are no image\.$"):
        read_bytes(path, ImageError, expected="an image", limit=1, inspect=inspect)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this file system")
def test_a_pipe_and_an_endless_device_end_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, kind in (("pipe.png", "a pipe"), ("zero.png", "a device")):
        with pytest.raises(ImageError, match=f"{name}: this is {kind}, and an image was expected"):
            read_bytes(tmp_path / name, ImageError, expected="an image", limit=10)
        with pytest.raises(OSError, match=f"this is {kind}"):
            open_regular(tmp_path / name)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"content")
    (tmp_path / "image.png").symlink_to(tmp_path / "blob")
    assert read_bytes(tmp_path / "image.png", ImageError, expected="an image", limit=10) == b"content"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_a_file_that_says_it_is_empty_is_read_to_the_limit() -> None:
    assert read_bytes(Path("/proc/self/status"), ImageError, expected="a text", limit=100_000).startswith(b"Name:")
    with pytest.raises(ImageError, match="11 bytes are more than a text should have"):
        read_bytes(Path("/proc/self/status"), ImageError, expected="a text", limit=10)
