"""Records of many images, packed: a tenth of the memory that they take as objects, and some megabytes at the most.

A summary reads the records many times, in order, and a few of them by their place. So they are kept in parts of some
hundreds, each pickled and compressed as one, and a part is unpacked where it is read. Those that are read first stay
unpacked, so that of an ordinary data set each is unpacked once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate, repeat
from typing import Any, Generic, TypeVar, cast, overload

from onnx_gapmil.files.parts import Parts

R = TypeVar("R")
T = TypeVar("T")

#: Records of one part.
_PART = 256


def itself(item: T) -> T:
    """An item as it is."""
    return item


class Listed(Sequence[T]):
    """A sequence whose items are made when they are asked for; it equals any other sequence of equal items."""

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[T, ...]: ...
    def __getitem__(self, place: int | slice) -> T | tuple[T, ...]:
        if isinstance(place, slice):
            return tuple(self._item(each) for each in range(*place.indices(len(self))))
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return self._item(place % len(self))

    def _item(self, place: int) -> T:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(own == another for own, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class PackedBatches(Listed[tuple[R, ...]], Generic[R]):
    """Batches of records, in the order in which they came. What is unpacked is not to be changed.

    Args:
        read: makes a batch of its text, where batches are added as such.
    """

    def __init__(self, read: Callable[[bytes], Sequence[R]] = lambda _: ()) -> None:
        #: Types of the records; `object` stands for any.
        self.kinds: set[type] = set()
        self._read = read
        self.sizes = array("I")
        self._parts = Parts()
        self._starts = array("Q")  # of each part, its first batch
        self._open: list[tuple[R, ...] | bytes] = []
        self._filled = 0

    def append(self, batch: Sequence[R]) -> None:
        """Add the next batch."""
        self.kinds.update(map(type, batch))
        self._add(tuple(batch), len(batch))

    def append_text(self, text: bytes, size: int, kinds: Collection[type] = (object,)) -> None:
        """Add the next batch as its text, which is read when it is asked for.

        Args:
            text: of the batch.
            size: records of it.
            kinds: types of these.
        """
        self.kinds.update(kinds)
        self._add(text, size)

    def _add(self, batch: tuple[R, ...] | bytes, size: int) -> None:
        if not self._open:
            self._starts.append(len(self.sizes))
        self.sizes.append(size)
        self._open.append(batch)
        self._filled += size
        if self._filled >= _PART:
            self._parts.append(tuple(self._open))
            self._open, self._filled = [], 0

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[tuple[R, ...]]:
        for part in range(len(self._starts)):
            yield from self._part(part)

    def _item(self, place: int) -> tuple[R, ...]:
        part = bisect_right(self._starts, place) - 1
        return self._part(part)[place - self._starts[part]]

    def _part(self, part: int) -> Sequence[tuple[R, ...]]:
        if part == len(self._parts):
            self._open[:] = self._as_records(self._open)
            return cast("list[tuple[R, ...]]", self._open)
        return self._parts.get(part, self._as_records)

    def _as_records(self, batches: Sequence[tuple[R, ...] | bytes]) -> tuple[tuple[R, ...], ...]:
        if isinstance(batches, tuple) and not any(isinstance(each, bytes) for each in batches):
            return cast("tuple[tuple[R, ...], ...]", batches)  # not to be packed again
        return tuple(tuple(self._read(each)) if isinstance(each, bytes) else each for each in batches)


class PackedList(Listed[T]):
    """A sequence that is added to at its end and lies packed. What is unpacked is not to be changed.

    Args:
        items: the first ones.
    """

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._parts = Parts()
        self._open: list[T] = []
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add the next."""
        self._open.append(item)
        if len(self._open) == _PART:
            self._parts.append(tuple(self._open))
            self._open = []

    def __len__(self) -> int:
        return len(self._parts) * _PART + len(self._open)

    def __iter__(self) -> Iterator[T]:
        for part in range(len(self._parts)):
            yield from self._parts.get(part)
        yield from self._open

    def _item(self, place: int) -> T:
        part, at = divmod(place, _PART)
        found: T = self._open[at] if part == len(self._parts) else self._parts.get(part)[at]
        return found


class PackedRecords(Listed[R], Generic[R]):
    """The records of batches, one after another.

    Args:
        batches: that hold them.
        order: of the batches, by their places there.
    """

    def __init__(self, batches: PackedBatches[R], order: Iterable[int]) -> None:
        self._batches = batches
        self._order = array("Q", order)
        self._ends = array("Q", accumulate(batches.sizes[place] for place in self._order))

    @property
    def kinds(self) -> set[type]:
        """Types of the records, and perhaps of others that lie beside them."""
        return self._batches.kinds

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[R]:
        for place in self._order:
            yield from self._batches[place]

    def _item(self, place: int) -> R:
        at = bisect_right(self._ends, place)
        start = self._ends[at - 1] if at else 0
        return self._batches[self._order[at]][place - start]


class PlacedBatches(Generic[R]):
    """Batches by their place in the data set.

    Args:
        batches: where they lie, and others are put.
    """

    def __init__(self, batches: PackedBatches[R] | None = None) -> None:
        self._batches: PackedBatches[R] = PackedBatches() if batches is None else batches
        self._at = array("q")  # by place in the data set; below 0 where there is none
        self._count = 0

    def put(self, place: int, at: int) -> None:
        """Say that a batch that lies there already, by its place there, has a place in the data set."""
        if place >= len(self._at):
            self._at.extend(repeat(-1, place + 1 - len(self._at)))
        self._count += self._at[place] < 0
        self._at[place] = at

    def lines(self) -> Iterator[int]:
        """Where they lie, in the order of the data set."""
        return (at for at in self._at if at >= 0)

    def add(self, place: int, batch: Sequence[R]) -> None:
        """Add a batch."""
        self.put(place, len(self._batches))
        self._batches.append(batch)

    def items(self) -> Iterator[tuple[int, tuple[R, ...]]]:
        """Places and batches, in the order of the data set."""
        return ((place, self._batches[at]) for place, at in enumerate(self._at) if at >= 0)

    def __contains__(self, place: int) -> bool:
        return place < len(self._at) and self._at[place] >= 0

    def __len__(self) -> int:
        return self._count

    def records(self) -> PackedRecords[R]:
        """All records, in the order of the data set."""
        return PackedRecords(self._batches, self.lines())


class Chosen(Listed[T]):
    """Some of a sequence's items, or a part of each, made when they are asked for.

    Args:
        items: all.
        places: of those that are chosen; None for all.
        part: what is taken of each.
    """

    def __init__(self, items: Sequence[Any], places: Sequence[int] | None, part: Callable[[Any], T]) -> None:
        self._items, self._part = items, part
        self._places = array("Q", places) if places is not None and len(places) < len(items) else None

    def __len__(self) -> int:
        return len(self._items if self._places is None else self._places)

    def __iter__(self) -> Iterator[T]:
        if self._places is None:
            return map(self._part, self._items)
        return (self._part(self._items[place]) for place in self._places)

    def _item(self, place: int) -> T:
        return self._part(self._items[place if self._places is None else self._places[place]])
