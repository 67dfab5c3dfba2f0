"""Parts of some hundred records, each pickled and compressed as one, and unpacked where it is read.

What is packed lies in `Pieces`: in memory up to some megabytes, and in a file without a name beyond these.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import pickle
import weakref
from array import array
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pyarrow as pa

from onnx_gapmil.files.pieces import Pieces

#: Parts that stay unpacked: of records of an audit 4,096, some 10 MB.
_UNPACKED = 16
_CODEC = "zstd"


class ByReference:
    """What is no value, such as a reader with its open files: records that lie packed keep hold of it, as it is."""


#: Those that packed records hold, by their number; who packed them keeps them alive.
_references: weakref.WeakValueDictionary[int, ByReference] = weakref.WeakValueDictionary()


def _referred(number: int) -> ByReference:
    return _references[number]


class _Pickler(pickle.Pickler):
    """Dataclasses as their type and its arguments: in a third of the time that their own way takes."""

    def __init__(self, stream: io.BytesIO, held: dict[int, ByReference]) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._held = held

    def reducer_override(self, value: Any) -> Any:
        """How a value is made again."""
        if isinstance(value, ByReference):
            self._held[id(value)] = _references[id(value)] = value
            return _referred, (id(value),)
        kind: Any = type(value)
        read = _values_of(kind)
        return NotImplemented if read is None else (kind, read(value))


@functools.cache
def _values_of(kind: Any) -> Callable[[Any], tuple[Any, ...]] | None:
    """What gives the arguments that an equal one is made of; None of what is no dataclass."""
    if not dataclasses.is_dataclass(kind):
        return None
    names = [field.name for field in dataclasses.fields(kind)]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


class Parts:
    """Parts of records, packed, of which the first stay unpacked where they are read, and the last that was."""

    def __init__(self) -> None:
        self._packed = Pieces()
        self._sizes = array("Q")  # of each part, unpacked
        self._unpacked: dict[int, tuple[Any, ...]] = {}
        self._last: tuple[int, tuple[Any, ...]] = (-1, ())
        self._held: dict[int, ByReference] = {}

    def __len__(self) -> int:
        return len(self._packed)

    def append(self, items: tuple[Any, ...]) -> None:
        """Add the next part.

        Raises:
            InputError: it has no place on the disk; see `Pieces`, as for what follows.
        """
        size, packed = self._pack(items)
        self._packed.append(packed)
        self._sizes.append(size)

    def get(self, place: int, read: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None) -> tuple[Any, ...]:
        """A part.

        Args:
            place: of it.
            read: what makes its items of what was added, where these are another thing; None if they are none.
        """
        if place == self._last[0]:
            return self._last[1]
        found = self._unpacked.get(place)
        if found is None:
            text = pa.decompress(self._packed[place], decompressed_size=self._sizes[place], codec=_CODEC, asbytes=True)
            held = pickle.loads(text)  # noqa: S301  # it was nowhere but in this process and its nameless file
            found = held if read is None else read(held)
            if found is not held:
                self._sizes[place], self._packed[place] = self._pack(found)
            # None makes room for another: records are read in order again and again, so that all would be read anew.
            if len(self._unpacked) < _UNPACKED:
                self._unpacked[place] = found
            self._last = place, found
        return found

    def _pack(self, items: tuple[Any, ...]) -> tuple[int, bytes]:
        """A part, and how long it is unpacked."""
        stream = io.BytesIO()
        _Pickler(stream, self._held).dump(items)
        text = stream.getvalue()
        # Made as bytes it would be as long as the text until it is cut: the hole behind it is too small for the next.
        return len(text), pa.compress(text, codec=_CODEC).to_pybytes()
