"""A part of a tensor: of each axis some places; the elements of a tensor that make one token's row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np


class NoBox(Exception):  # noqa: N818 - an answer, which becomes a refusal where the node is known
    """Elements that are no box."""


@dataclass(frozen=True)
class Box:
    """Some places along each axis of a tensor.

    Attributes:
        shape: the tensor's, in the trace.
        kept: for each axis the places that are kept, ascending.
    """

    shape: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...]

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Box:
        """All of a tensor."""
        return cls(shape, tuple(tuple(range(dim)) for dim in shape))

    @classmethod
    def of_numbers(cls, numbers: np.ndarray, shape: tuple[int, ...]) -> tuple[Box, np.ndarray]:
        """The box of some elements, and for each of them its place in the box.

        Args:
            numbers: of elements in row-major order, of any shape.
            shape: of the tensor.

        Raises:
            NoBox: they are none, or one is wanted twice.
        """
        flat = np.ravel(numbers)
        places = np.unravel_index(flat, shape) if shape else ()
        kept = tuple(tuple(np.unique(axis).tolist()) for axis in places)
        found = cls(shape, kept)
        own = found.numbers.ravel()
        if own.size != flat.size:
            raise NoBox
        order = np.searchsorted(own, flat)  # ascending, as each axis is
        if not np.array_equal(own[np.minimum(order, own.size - 1)], flat):
            raise NoBox
        return found, order.astype(np.int64)

    @cached_property
    def size(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(len(axis) for axis in self.kept)

    @cached_property
    def numbers(self) -> np.ndarray:
        """Of its elements their numbers in the tensor, int64, in the box's shape."""
        if not self.shape:
            return np.zeros((), np.int64)
        return np.asarray(np.ravel_multi_index(np.ix_(*(np.asarray(axis) for axis in self.kept)), self.shape))

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the tensor."""
        return self.size == self.shape

    def is_cut(self, axis: int) -> bool:
        """Whether it leaves out a part of an axis."""
        return self.size[axis] != self.shape[axis]

    def grown(self, *axes: int) -> Box:
        """The same with all of some axes."""
        wanted = {axis % len(self.shape) for axis in axes}
        whole = (tuple(range(dim)) for dim in self.shape)
        return Box(self.shape, tuple(all_ if axis in wanted else self.kept[axis] for axis, all_ in enumerate(whole)))

    def narrowed(self, shape: tuple[int, ...]) -> Box:
        """The part of an operand that makes this box of an elementwise result, by NumPy's broadcasting."""
        offset = len(self.shape) - len(shape)
        kept = tuple((0,) if dim == 1 else self.kept[axis + offset] for axis, dim in enumerate(shape))
        return Box(shape, kept)

    def replaced(self, axis: int, dim: int, kept: tuple[int, ...]) -> Box:
        """The same with another axis in place of one."""
        axis %= len(self.shape)
        shape = (*self.shape[:axis], dim, *self.shape[axis + 1 :])
        return Box(shape, (*self.kept[:axis], kept, *self.kept[axis + 1 :]))

    @property
    def count(self) -> int:
        """How many elements it has."""
        return math.prod(self.size)
