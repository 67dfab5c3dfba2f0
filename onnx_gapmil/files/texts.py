"""Many texts, as their letters and where each begins: some bytes more than they have, where an object takes 50 more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

#: Texts that become letters, or objects, at a time.
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

    def order(self) -> pa.Array:
        """Their places, ascending by text; of equal ones the first comes first."""
        return pc.array_sort_indices(self._texts)  # UTF-8 and code points have one order

    def at(self, places: pa.Array | Sequence[int]) -> Iterator[str]:
        """Those in some places."""
        listed = pa.array(places)
        for start in range(0, len(listed), _PART):
            yield from self._texts.take(listed.slice(start, _PART)).to_pylist()


class TextsBuilder:
    """Texts that are added one by one."""

    def __init__(self) -> None:
        self._parts: list[pa.Array] = []
        self._open: list[str] = []

    def add(self, text: str) -> None:
        """Add the next."""
        self._open.append(text)
        if len(self._open) == _PART:
            self._close()

    def _close(self) -> None:
        self._parts.append(pa.array(self._open, pa.large_string()))
        self._open = []

    def built(self) -> Texts:
        """All of them."""
        if self._open or not self._parts:
            self._close()
        return Texts(pa.chunked_array([pa.concat_arrays(self._parts)]))
