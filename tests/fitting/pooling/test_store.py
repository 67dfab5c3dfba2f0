"""What a fit keeps of the images: in memory, or in a file that has no name and leaves nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from onnx_gapmil.errors import InputError
from onnx_gapmil.fitting.pooling import store
from onnx_gapmil.fitting.pooling.store import make_store


def test_a_small_one_is_in_memory() -> None:
    assert type(make_store((3, 4), budget=48)) is np.ndarray


def test_a_large_one_lies_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = make_store((3, 4), budget=47)
    assert isinstance(found, np.memmap)
    found[1] = [1, 2, 3, 4]
    np.testing.assert_array_equal(found[[1, 1]].sum(axis=0), [2, 4, 6, 8])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "_reserve", full)
    with pytest.raises(InputError, match=r"takes 0\.0 GB.*No space left.*TMPDIR"):
        make_store((3, 4), budget=0)
    assert list(tmp_path.iterdir()) == []
