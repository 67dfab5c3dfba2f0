"""Which batch of a data set a journal's line holds, told by the names of its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Names = tuple[str, ...]


class LinePlaces:
    """The places of batches, asked for line by line.

    A journal has its lines in the order of the data set, but for batches that were measured anew: as long as it has,
    the next place is tried alone, and no table of all names is made.

    Args:
        wanted: places of batches, in order.
        names: of the images of the batch in a place.
    """

    def __init__(self, wanted: Sequence[int], names: Callable[[int], Names]) -> None:
        self._wanted, self._names = wanted, names
        self._next = 0
        self._known: dict[Names, int] | None = None

    def of(self, names: Names) -> int | None:
        """The place of the batch of these images; None of one that is not wanted."""
        if self._next < len(self._wanted) and self._names(self._wanted[self._next]) == names:
            self._next += 1
            return self._wanted[self._next - 1]
        if self._known is None:
            self._known = {self._names(place): at for at, place in enumerate(self._wanted)}
        at = self._known.get(names)
        if at is None:
            return None
        self._next = at + 1
        return self._wanted[at]
