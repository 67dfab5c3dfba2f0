"""Many texts, as their letters and where each begins: some bytes more than they have, where an object takes 50 more."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: Texts that become objects at a time.
_PART = 1 << 12


class Texts:
    """Texts in order.

    Args:
        texts: as Arrow has them.
    """

    def __init__(self, texts: pa.ChunkedArray) -> None:
        self._texts = texts

    @classmethod
    def of(cls, texts: Iterable[str] | Texts) -> Texts:
        """Of texts that can be printed; of what is one already, itself."""
        if isinstance(texts, Texts):
            return texts
        builder = TextsBuilder()
        for text in texts:
            builder.add(text)
        return builder.built()

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._texts), _PART):
            yield from self._texts.slice(start, _PART).to_pylist()

    def shared(self, others: Texts) -> Texts:
        """Those that are among others."""
        return Texts(self._texts.filter(pc.is_in(self._texts, value_set=others._texts)))

    def differ(self) -> bool:
        """Whether no two are equal."""
        return bool(pc.count_distinct(self._texts).as_py() == len(self))

    def places_in(self, others: Texts) -> npt.NDArray[np.int32]:
        """(texts,), where each is among others that differ; -1 where it is not."""
        places: npt.NDArray[np.int32] = pc.index_in(self._texts, value_set=others._texts).fill_null(-1).to_numpy()
        return places

    def order(self) -> pa.Array:
        """Their places, ascending by text; of equal ones the first comes first."""
        return pc.array_sort_indices(self._texts)  # UTF-8 and code points have one order

    def at(self, places: pa.Array | npt.NDArray[np.integer[Any]] | Sequence[int]) -> Iterator[str]:
        """Those in some places."""
        listed = pa.array(places)
        for start in range(0, len(listed), _PART):
            yield from self._texts.take(listed.slice(start, _PART)).to_pylist()


class TextsBuilder:
    """Texts that are added one by one."""

    def __init__(self) -> None:
        self._letters, self._ends = bytearray(), array("q", [0])

    def add(self, text: str) -> None:
        """Add the next."""
        self._letters += text.encode()
        self._ends.append(len(self._letters))

    def built(self) -> Texts:
        """All of them, in the memory where they lie; nothing is to be added any more."""
        ends, letters = pa.py_buffer(self._ends), pa.py_buffer(self._letters)
        return Texts(pa.chunked_array([pa.LargeStringArray.from_buffers(len(self._ends) - 1, ends, letters)]))
