"""Records that lie packed are the very records, in the same order."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import pytest

from onnx_gapmil.files import packed as module
from onnx_gapmil.files import parts
from onnx_gapmil.files.packed import Chosen, PackedBatches, PackedList, PlacedBatches, itself
from onnx_gapmil.files.parts import ByReference


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class Only:
    text: str


def test_a_record_of_one_field_is_itself_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PART", 1)
    packed = PackedBatches[Only]()
    packed.append([Only("ab"), Only("")])
    assert packed[0] == (Only("ab"), Only(""))


def batches(count: int, size: int = 7) -> list[tuple[Entry, ...]]:
    """Batches of up to so many entries, none like another."""
    return [
        tuple(Entry(f"{batch}/{row}", (batch / 3, row * 1e-300, -0.0)) for row in range(1 + (batch + size) % size))
        for batch in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 64, 65, 500])
def test_batches_are_what_was_added(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(parts, "_UNPACKED", 2)  # of up to eight parts
    packed, made = PackedBatches[Entry](), batches(count)
    for batch in made:
        packed.append(batch)
    assert packed == tuple(made)
    assert len(packed) == count
    assert [packed[place] for place in range(count - 1, -1, -37)] == [made[at] for at in range(count - 1, -1, -37)]
    assert packed[3:9] == tuple(made[3:9])
    with pytest.raises(IndexError):
        packed[count]


def test_records_come_in_the_order_of_the_data_set_whenever_they_were_measured() -> None:
    made = batches(300)
    earlier = PackedBatches[Entry]()
    for place in (7, 299, 2):
        earlier.append(made[place])
    placed = PlacedBatches(earlier)
    placed.put(2, 2)
    placed.put(299, 1)  # what lies first is not kept
    for place in range(300):
        if place not in placed:
            placed.add(place, made[place])
    records = placed.records()
    expected = [entry for batch in made for entry in batch]
    assert list(records) == expected
    assert records == tuple(expected)
    assert [records[place] for place in (0, 5, -1, len(expected) // 2)] == [
        expected[place] for place in (0, 5, -1, len(expected) // 2)
    ]
    assert records.kinds == {Entry}


def test_chosen_items_are_those_in_their_places() -> None:
    items = [Entry(str(place), ()) for place in range(9)]
    assert list(Chosen(items, [1, 4, 8], itself)) == [items[1], items[4], items[8]]
    assert Chosen(items, None, lambda entry: entry.name) == tuple("012345678")
    assert Chosen(items, [2], itself)[-1] is items[2]
    assert Chosen(items, [1, 2], itself) != (items[1],)
    assert len(Chosen(items, [], itself)) == 0


def test_packed_records_take_a_tenth_of_their_memory() -> None:
    made = batches(1000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [tuple(Entry(entry.name + "", tuple(map(float, entry.numbers))) for entry in batch) for batch in made]
    as_objects = tracemalloc.get_traced_memory()[0] - before
    packed = PackedBatches[Entry]()
    before = tracemalloc.get_traced_memory()[0]
    for batch in kept:
        packed.append(batch)
    own = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert own < as_objects / 10


class Reader(ByReference):
    """What cannot be copied."""

    def __reduce__(self) -> str:
        raise TypeError("it was copied")


@dataclass(frozen=True, slots=True)
class Held:
    place: int
    reader: Reader


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
def test_a_packed_list_is_what_was_added(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(parts, "_UNPACKED", 1)
    made = [Entry(str(place), (place / 3,)) for place in range(count)]
    packed = PackedList(made)
    assert packed == made
    assert tuple(made) == packed
    assert (len(packed), packed[-3:], packed[250:260]) == (count, tuple(made[-3:]), tuple(made[250:260]))
    assert [packed[place] for place in range(count - 1, -1, -99)] == [made[at] for at in range(count - 1, -1, -99)]
    with pytest.raises(IndexError):
        packed[count]


def test_what_is_no_value_is_held_as_it_is() -> None:
    packed = PackedList(Held(place, reader) for reader in (Reader(), Reader()) for place in range(300))
    assert [each.place for each in packed] == [*range(300), *range(300)]
    assert len({id(each.reader) for each in packed}) == 2
    assert packed[0].reader is packed[299].reader is not packed[300].reader
    assert packed[599].reader is packed[310].reader


def test_a_packed_list_takes_a_tenth_of_its_memory() -> None:
    def taken(keep: type) -> int:
        tracemalloc.start()
        held = keep(Entry(f"folder/photo_{place:06}.jpg", (place / 3, 1.0, place * 2.0)) for place in range(4_000))
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(held) == 4_000
        return size

    assert taken(PackedList) < taken(list) / 10


def test_a_place_that_is_put_again_has_the_later_batch() -> None:
    placed = PlacedBatches(PackedBatches[Entry]())
    for place, batch in ((4, batches(1)[0]), (0, batches(2)[1]), (4, batches(3)[2])):
        placed.add(place, batch)
    assert (len(placed), list(placed.lines()), 4 in placed, 3 in placed, 9 in placed) == (2, [1, 2], True, False, False)
    assert list(placed.items()) == [(0, batches(2)[1]), (4, batches(3)[2])]
