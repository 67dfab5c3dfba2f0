"""Files of arrays: what is read of them, and how each mishap is told; no Python object is ever made of them."""

from __future__ import annotations

import io
import os
import pickle
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_gapmil import ImageError
from onnx_gapmil.files import arrays
from onnx_gapmil.files.arrays import is_array_file, read_arrays

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


class Bomb:
    """Unpickling it would leave a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(ARRAY, id="float32"),
        pytest.param(np.asfortranarray(ARRAY), id="column_major"),
        pytest.param(ARRAY.astype(">f4"), id="big_endian"),
        pytest.param(ARRAY.astype(np.uint8), id="bytes"),
        pytest.param(ARRAY > 3, id="bool"),
        pytest.param(np.float32(2.5), id="scalar"),
        pytest.param(np.zeros((0, 3), np.float32), id="empty"),
    ],
)
@pytest.mark.parametrize("packed", ["npy", "npz", "npz_deflated"])
def test_an_array_is_read_as_it_was_saved(tmp_path: Path, array: np.ndarray, packed: str) -> None:
    path = tmp_path / f"a.{packed[:3]}"
    save = {"npy": np.save, "npz": np.savez, "npz_deflated": np.savez_compressed}[packed]
    save(path, array)
    (found,) = read_arrays(path, ["x"]).values()
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.asarray(array).dtype.newbyteorder("=")


def test_arrays_by_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", image=ARRAY, meta=ARRAY[0])
    found = read_arrays(tmp_path / "two.npz", ["meta", "image"])
    np.testing.assert_array_equal(found["image"], ARRAY)
    np.testing.assert_array_equal(found["meta"], ARRAY[0])
    with pytest.raises(ImageError, match=r"it holds 'image', 'meta', and the model's inputs are 'image', 'age'"):
        read_arrays(tmp_path / "two.npz", ["image", "age"])
    np.save(tmp_path / "one.npy", ARRAY)
    with pytest.raises(ImageError, match=r"one array, and the model has 2 inputs \('image', 'age'\); give an .npz"):
        read_arrays(tmp_path / "one.npy", ["image", "age"])


def test_pickled_objects_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("o.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez("o.npz", x=np.array([Bomb()], dtype=object))
    Path("p.npy").write_bytes(pickle.dumps(Bomb()))
    for name, words in (("o.npy", "pickled"), ("o.npz", "pickled"), ("p.npy", "magic string")):
        with pytest.raises(ImageError, match=words):
            read_arrays(Path(name), ["x"])
    assert not Path("unpickled").exists()


def header(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_sizes_are_bounded_before_memory_is_taken(tmp_path: Path) -> None:
    """Headers that promise terabytes, over a few bytes; and a member that inflates to more than may be read."""
    (tmp_path / "huge.npy").write_bytes(header((1 << 20, 1 << 20)) + b"few")
    with pytest.raises(ImageError, match=r"4,398,046,511,104 bytes are more than one file's arrays may have"):
        read_arrays(tmp_path / "huge.npy", ["x"])
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("x.npy", header((1 << 20, 1 << 20)))
    with pytest.raises(ImageError, match="bytes are more than"):
        read_arrays(tmp_path / "huge.npz", ["x"])


def test_an_archive_that_inflates_is_told_by_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_BYTES", 10_000)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(100_000, np.float32))
    assert (tmp_path / "bomb.npz").stat().st_size < 2_000
    with pytest.raises(ImageError, match=r"more than one file's arrays may have \(10,000\)"):
        read_arrays(tmp_path / "bomb.npz", ["x"])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(header((2, 3)) + b"1234", "it is cut short", id="cut"),
        pytest.param(header((2, 3))[:40], "no array that can be read", id="cut_header"),
        pytest.param(b"", "no array that can be read", id="empty"),
        pytest.param(b"\x89PNG\r\n", "no array that can be read", id="a_photo"),
        pytest.param(header((2,), "<U4") + b"12345678" * 4, "a model takes numbers", id="text"),
        pytest.param(header((2,), "<c8") + b"12345678" * 2, "a model takes numbers", id="complex"),
        pytest.param(header((-2,)) + b"12345678", "no array that can be read", id="negative"),
        pytest.param(b"\x93NUMPY\x09\x00" + b"1234", "no array that can be read", id="version"),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "bad.npy").write_bytes(data)
    with pytest.raises(ImageError, match=words):
        read_arrays(tmp_path / "bad.npy", ["x"])
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("x.npy", data)
    with pytest.raises(ImageError, match=words):
        read_arrays(tmp_path / "bad.npz", ["x"])


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "junk.npz").write_bytes(b"junk")
    for name, words in (("folder.npy", "folder"), ("absent.npy", "no such file"), ("junk.npz", "not a zip file")):
        with pytest.raises(ImageError, match=words):
            read_arrays(tmp_path / name, ["x"])


def test_endings() -> None:
    assert is_array_file(Path("A.NPY"))
    assert is_array_file(Path("a.npz"))
    assert not is_array_file(Path("a.png"))


def test_headers_are_parsed_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads in Python 3.11's parser end now and then in a SystemError: python/cpython#106905."""
    np.save(tmp_path / "a.npy", ARRAY)
    parse, inside, most = np.lib.format.read_array_header_1_0, [], []

    def watched(stream: Any) -> Any:
        inside.append(stream)
        most.append(len(inside))
        time.sleep(0.005)  # long enough for the others to come in, were they let
        header = parse(stream)
        inside.remove(stream)
        return header

    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", watched)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: read_arrays(tmp_path / "a.npy", ["x"])["x"], range(8)))
    assert most == [1] * 8
    assert all(np.array_equal(array, ARRAY) for array in found)
