"""Collection of circles is paused in a block, whatever ends it, and not switched on where it was off."""

from __future__ import annotations

import gc

import pytest

from onnx_gapmil.files.memory import shared, without_collection


def test_collection_is_paused_and_goes_on() -> None:
    assert gc.isenabled()
    with without_collection():
        assert not gc.isenabled()
        with without_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), without_collection():
        raise ValueError("x")
    assert gc.isenabled()


def test_equal_tuples_are_one_and_stay_what_they_are() -> None:
    first, second = shared((3, 1000, 7)), shared(tuple(map(int, ("3", "1000", "7"))))
    assert first == (3, 1000, 7)
    assert first is second
    assert shared(("a", "b")) == ("a", "b")
