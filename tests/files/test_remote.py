"""Places behind URLs: what is told without fsspec, and with it what a path of memory and of an archive can do."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from onnx_gapmil.errors import DataError, InputError
from onnx_gapmil.files.identity import ABSENT, identify, is_unchanged
from onnx_gapmil.files.reading import read_bytes
from onnx_gapmil.files.remote import RemotePath, open_url, require_url
from onnx_gapmil.files.urls import given_place, is_url


@pytest.mark.parametrize(
    "url", ["s3://bucket/a", "https://host/a.tar", "zip://a::s3://b/c.zip", "simplecache::gs://b/c"]
)
def test_urls_are_told_from_paths(url: str) -> None:
    assert is_url(url)
    assert given_place(url) == url


@pytest.mark.parametrize("path", ["data", "/a/b", "C:/a", "C:\\a", "a::b", "a:b", "./s3:/x", ""])
def test_paths_are_no_urls(path: str) -> None:
    assert not is_url(path)
    assert given_place(path) == Path(path)


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    assert open_url(f"file://{tmp_path}/a%20b.tar") == tmp_path / "a b.tar"


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"not installed: pip install 'onnx-gapmil\[remote\]'"):
        open_url("s3://bucket/data")


@pytest.fixture
def archive(tmp_path: Path) -> str:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as stream:
        for name, content in (("set/cat/1.png", "one"), ("set/cat/2.png", "two"), ("set/labels.csv", "x")):
            stream.writestr(name, content)
    return f"zip://set::{tmp_path}/a.zip"


@pytest.mark.remote
def test_what_a_path_can_do(archive: str) -> None:
    place = open_url(archive)
    assert isinstance(place, RemotePath)
    assert (str(place), place.name) == (archive, "set")
    assert (place.is_dir(), place.is_file(), place.exists()) == (True, False, True)
    assert sorted(entry.name for entry in place.iterdir()) == ["cat", "labels.csv"]
    one = place / "cat/1.png"
    assert (one.stem, one.suffix, one.parent, one.parents[1]) == ("1", ".png", place / "cat", place)
    assert str(one) == archive.replace("set::", "set/cat/1.png::")
    assert (one.is_file(), one.is_dir(), (place / "none").exists()) == (True, False, False)
    assert [str(path.relative_to(place)) for path in place.rglob("*.png")] == ["cat/1.png", "cat/2.png"]
    assert [path.name for path in place.glob("cat/2*")] == ["2.png"]
    assert (place / "cat/../labels.csv").normal() == place / "labels.csv"
    assert place.holds(one)
    assert not (place / "ca").holds(one)


@pytest.mark.remote
def test_bytes_and_identity(archive: str) -> None:
    place = open_url(archive)
    assert isinstance(place, RemotePath)
    one, two, none = (place / f"cat/{name}.png" for name in ("1", "2", "3"))
    assert (one.read(3), one.read_part(1, 5), one.open(9).read()) == (b"one", b"ne", b"one")
    with pytest.raises(DataError, match=r"zip://set/cat/1.png::.*: 3 bytes are more than are read \(2\)"):
        read_bytes(one, DataError, expected="an image", limit=2)
    with pytest.raises(DataError, match="nothing is there, and an image was expected"):
        read_bytes(none, DataError, expected="an image", limit=2)
    assert identify(one) != identify(two)
    assert is_unchanged(one, identify(one))
    assert identify(none) == ABSENT


@pytest.mark.remote
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://nothing/here", "nothing is found there; check the URL, and that its store can be reached"),
        ("zip://::/no/such.zip", "cannot be opened"),
        ("nowhere://a/b", "Protocol not known: nowhere"),
    ],
)
def test_what_is_not_there_is_told(url: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        require_url(url, DataError)
