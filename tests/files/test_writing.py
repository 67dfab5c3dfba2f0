"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from onnx_gapmil.errors import InputError
from onnx_gapmil.files import writing
from onnx_gapmil.files.writing import require_writable, reserved_file, whole_file, write_whole


def write(path: Path, data: bytes, error: Exception | None = None) -> None:
    with whole_file(path) as stream:
        stream.write(data)
        if error is not None:
            raise error


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(RuntimeError, match="half"):
        write(path, b"half", RuntimeError("half"))
    assert list(tmp_path.iterdir()) == []
    write(path, b"old")
    with pytest.raises(InputError, match=r"a\.bin cannot be written: No space left"):
        write(path, b"new", OSError(28, "No space left on device"))
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    writing._umask.cache_clear()
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "a") as stream:
            stream.write(b"x")
    finally:
        os.umask(before)
        writing._umask.cache_clear()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_cannot_be_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file is a file; name a folder"):
        require_writable(tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot be made: .*file is a file"):
        require_writable(tmp_path / "file" / "deeper" / "still")
    require_writable(tmp_path / "new" / "folder")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"cannot be written to: no permission in"):
        require_writable(tmp_path / "new" / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("url", ["s3://bucket/out", "gs://bucket/out", "memory://out", "zip://out::s3://bucket/a.zip"])
def test_a_url_is_no_folder(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"was a URL before it became a path.*give it as a text"):
        require_writable(Path(url))
    require_writable(Path("C:/out"))  # a drive
    require_writable(Path("a:b/c"))
    assert not list(tmp_path.iterdir())


def test_existing_file_survives_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError):
        write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("hold", [whole_file, reserved_file])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_part_is_made_leaves_nothing(
    hold: Callable[[Path], AbstractContextManager[object]],
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = writing._open_part

    def interrupted(path: Path) -> tuple[int, Path]:
        made = make(path)
        assert len(list(tmp_path.iterdir())) == 1
        signal.raise_signal(number)
        return made

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_open_part", interrupted)
    before = signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt), hold(tmp_path / "a.bin"):
            pytest.fail("the block began")
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(writing, "_open_part", make)
    write(tmp_path / "a.bin", b"again")  # nothing is reserved for ever
