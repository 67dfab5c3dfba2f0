"""What became of the images of an unfinished audit: told in words, and without an object for each."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from onnx_gapmil.auditing.earlier_samples import Entry, entry_of, with_gone
from onnx_gapmil.auditing.preparation import PreparedData
from onnx_gapmil.data import Sample
from onnx_gapmil.files import packed, parts
from onnx_gapmil.files.packed import PackedList

SAMPLES = [Sample(Path(f"/data/{place}.png"), f"{place}.png", (place % 3,)) for place in range(9)]
KNOWN = [entry_of(sample) for sample in SAMPLES]
UNKNOWN = (None, "what it held is not known any more")


def prepared(samples: Iterable[Sample]) -> PreparedData:
    nothing = cast("Any", None)
    return PreparedData(nothing, PackedList(samples), nothing, nothing)


def found(samples: Iterable[Sample], known: Iterable[Entry] = KNOWN) -> tuple[list[Sample] | None, str, list[str]]:
    told: list[str] = []
    whole, why = with_gone(prepared(samples), known, told.append)
    return None if whole is None else list(whole.samples), why, told


def test_the_same_images_are_the_same_wherever_they_lie() -> None:
    moved = [replace(sample, image=Path("/elsewhere") / sample.name) for sample in SAMPLES]
    assert found(moved) == (moved, "", [])


def test_images_that_are_gone_stand_where_they_stood() -> None:
    left = [sample for place, sample in enumerate(SAMPLES) if place not in (0, 4, 8)]
    whole = [sample if place not in (0, 4, 8) else replace(sample, labels=()) for place, sample in enumerate(SAMPLES)]
    assert found(left) == (whole, "", ["Counted as failed, since they are gone: 0.png, 4.png, 8.png."])
    assert found(SAMPLES[:2])[2] == [
        "Counted as failed, since they are gone: 2.png, 3.png, 4.png, 5.png, 6.png and 2 more."
    ]


def test_new_and_other_ones_are_named() -> None:
    new = [Sample(Path(f"/data/{place}.png"), f"{place}.png", (0,)) for place in range(10, 16)]
    assert found([*SAMPLES[:5], *new]) == (
        None,
        "new are 10.png, 11.png, 12.png, 13.png, 14.png and 1 more",
        [],
    )
    other = [replace(sample, labels=(7,)) if place in (2, 8) else sample for place, sample in enumerate(SAMPLES)]
    assert found(other[1:]) == (None, "labels, boxes or masks are others of 2.png, 8.png", [])
    assert found([*other, new[0]])[1] == "new are 10.png; labels, boxes or masks are others of 2.png, 8.png"


def test_another_order_is_said() -> None:
    assert found([*SAMPLES[:3], SAMPLES[4], SAMPLES[3]]) == (None, "its images have another order", [])


@dataclass
class Broken:
    """Entries that cannot be read to their end."""

    entries: list[Entry]

    def __iter__(self) -> Iterator[Entry]:
        yield from self.entries
        raise ValueError("no JSON")


@pytest.mark.parametrize(
    "known",
    [
        [],
        Broken(KNOWN),
        Broken(KNOWN[:4]),
        [*KNOWN, KNOWN[0]],
        [*KNOWN[:3], ("3.png", KNOWN[3][1])],
        [*KNOWN[:3], ("3.png", "no number", "/data/3.png")],
        [*KNOWN[:3], ("3.png", "f" * 17, "/data/3.png")],
    ],
    ids=["nothing", "cut short", "half", "twice", "two parts", "no number", "a large number"],
)
def test_what_cannot_be_read_is_not_known(known: Iterable[Entry]) -> None:
    assert found(SAMPLES[1:], known)[:2] == UNKNOWN


@dataclass
class Read:
    """Entries that are made as they are read."""

    samples: PackedList[Sample]

    def __iter__(self) -> Iterator[Entry]:
        return map(entry_of, self.samples)


def test_neither_side_is_there_as_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_UNPACKED", 0)
    monkeypatch.setattr(packed, "_PART", 32)
    count = 2500
    all_of_them = PackedList(Sample(Path("/data/x.png"), f"photo_{place:06}.png", (place,)) for place in range(count))
    here = prepared(sample for sample in all_of_them if sample.labels[0] % 9)
    tracemalloc.start()
    whole, _ = with_gone(here, Read(all_of_them), lambda _: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert whole is not None
    assert len(whole.samples) == count
    assert peak < 200 * count  # an entry alone takes 300
