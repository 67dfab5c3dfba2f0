"""Nothing that was read in a run, nothing that belongs to a model, and nothing but regular files is written over."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from onnx_gapmil.errors import ImageError, InputError
from onnx_gapmil.files.guarding import protect, watched_reads
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.files.reading import read_bytes
from onnx_gapmil.files.sidecars import sidecars
from onnx_gapmil.files.writing import PART, reserved_file, whole_file, write_whole

needs_links = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and links as POSIX has them")


def read(path: Path) -> bytes:
    return read_bytes(path, ImageError, expected="a file", limit=100)


def test_what_was_read_in_a_run_is_not_written_over_in_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with watched_reads():
        read(tmp_path / "a")
        with pytest.raises(InputError, match="was read in this run, and is never overwritten"):
            write_whole(tmp_path / "a", b"new")
        write_whole(tmp_path / "b", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    write_whole(tmp_path / "a", b"new")  # another run
    assert (tmp_path / "a").read_bytes() == b"new"


@needs_links
def test_another_name_of_the_same_file_makes_no_difference(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    os.link(tmp_path / "a", tmp_path / "hard")
    (tmp_path / "folder").symlink_to(tmp_path)
    with watched_reads():
        read(tmp_path / "a")
        for name in ("hard", "folder/a"):
            with pytest.raises(InputError, match="never overwritten"):
                write_whole(tmp_path / name, b"new")


def test_what_will_be_read_is_protected_before(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with watched_reads():
        protect([tmp_path / "a", tmp_path / "missing"])
        with pytest.raises(InputError, match="is read in this run"):
            write_whole(tmp_path / "a", b"new")


def test_runs_inside_each_other_keep_their_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with watched_reads():
        with watched_reads():
            read(tmp_path / "a")
        with pytest.raises(InputError):
            write_whole(tmp_path / "a", b"new")


@needs_links
def test_only_regular_files_are_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "device").symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    for name, words in (
        ("pipe", "is a pipe"),
        ("link", "is a link to .*target, and is not written through"),
        ("dangling", "is a link to"),
        ("device", "is a link to /dev/null"),
        ("folder", "is a folder"),
    ):
        with pytest.raises(InputError, match=words):
            write_whole(tmp_path / name, b"new")
    with pytest.raises(InputError, match="/dev/null is a device"):
        write_whole(Path("/dev/null"), b"new")
    assert (tmp_path / "target").read_bytes() == b"old"
    assert not (tmp_path / "nowhere").exists()


def test_sidecars_are_those_of_the_model_and_of_what_it_was_rewritten_from() -> None:
    names = {path.name for path in sidecars(Path("models/m.gapmil.onnx"))}
    assert {"m.labels.txt", "m.gapmil.preprocess.json", "labels.txt", "config.json", "m.onnx.data"} - names == {
        "m.onnx.data"
    }
    assert "m.gapmil.onnx.data" in names
    assert not {"m.onnx", "m.gapmil.onnx", "m.bench.json"} & names


def hold(path: str, ready: multiprocessing.connection.Connection) -> None:
    with whole_file(Path(path)) as stream:
        stream.write(b"half")
        stream.flush()
        ready.send(True)
        signal.pause()


@needs_links
def test_what_another_process_is_writing_is_left_alone_and_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(str(tmp_path / "a"), theirs))
    process.start()
    ours.recv()
    with pytest.raises(InputError, match="is being written by another process"):
        write_whole(tmp_path / "a", b"new")
    process.kill()
    process.join()
    assert [path.name for path in tmp_path.iterdir()] == [f".a{PART}"]
    write_whole(tmp_path / "a", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new"}


@needs_links
def test_a_part_file_that_somebody_laid_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"old")
    os.link(tmp_path / "precious", tmp_path / f".a{PART}")
    write_whole(tmp_path / "a", b"new")
    (tmp_path / f".b{PART}").symlink_to(tmp_path / "precious")
    write_whole(tmp_path / "b", b"new")
    assert (tmp_path / "precious").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"new"
    assert not (tmp_path / "b").is_symlink()


def test_a_reserved_file_is_written_by_its_holder_and_leaves_nothing_if_not(tmp_path: Path) -> None:
    with reserved_file(tmp_path / "a"):
        write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    with reserved_file(tmp_path / "b"):
        assert len(list(tmp_path.iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_names_that_are_too_long_for_a_part_do_not_meet(tmp_path: Path) -> None:
    first, second = ("x" * 240 + ending for ending in "ab")
    with whole_file(tmp_path / first) as one, whole_file(tmp_path / second) as other:
        one.write(b"1")
        other.write(b"2")
    assert (tmp_path / first).read_bytes() == b"1"
    assert (tmp_path / second).read_bytes() == b"2"


def test_a_locked_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "new" / "out", "another run"):
        assert list((tmp_path / "new" / "out").iterdir()) == []
        with (
            pytest.raises(InputError, match="another run is writing into this folder"),
            locked_folder(tmp_path / "new" / "out", "another run"),
        ):
            pass
    assert not (tmp_path / "new" / "out").exists()
