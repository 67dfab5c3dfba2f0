"""At which thresholds the objects of a data set are boxed: 92 bytes each, packed, and read some thousand at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_gapmil.files.columns import Growing
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.metrics.boxes import IOU, IOUS, BoxHits

Flags = npt.NDArray[np.bool_]
Packed = npt.NDArray[np.uint8]

#: Objects at a time: an even number, since every other one is of the same half.
PART = 1 << 13
_MIDDLE = len(IOUS) + IOUS.index(IOU)
#: Flags of boxes, of an object's sets and whether it is answered: MaxBoxAccV2, V1 and Top-1 localization, each behind
#: it that of the centred box.
WAYS: tuple[Callable[[Packed, Packed], Packed], ...] = (
    lambda sets, _: sets[:, : len(IOUS)],
    lambda sets, _: sets[:, len(IOUS) : -1],
    lambda sets, _: sets[:, -1:],
    lambda sets, _: sets[:, [_MIDDLE]],
    lambda sets, answered: sets[:, -1:] & answered,
    lambda sets, answered: sets[:, [_MIDDLE]] & answered,
)


@dataclass(frozen=True)
class ObjectFlags:
    """At which thresholds objects are boxed well enough, eight thresholds a byte, the first in the highest bit.

    Attributes:
        packed: of each object the flags at each of `IOUS` by a box of any contour of the grid, the same for the sizes
            of a centred box, and those at an IoU of 0.5 by the box of the largest contour.
        answered: (objects,), whether the image's answer is a class of the object.
    """

    packed: Sequence[bytes]
    answered: Flags

    def parts(self) -> Iterator[tuple[Packed, Flags]]:
        """Some thousand objects at a time: (objects, 2 `IOUS` + 1, bytes), and whether they are answered."""
        left = iter(self.packed)
        for start in range(0, len(self.answered), PART):
            answered = self.answered[start : start + PART]
            sets = np.frombuffer(b"".join(itertools.islice(left, len(answered))), dtype=np.uint8)
            yield sets.reshape(len(answered), 2 * len(IOUS) + 1, -1), answered


class FlagsBuilder:
    """Flags that are added object by object, and lie packed."""

    def __init__(self) -> None:
        self._packed, self._answered = PackedList[bytes](), Growing("b")

    def add(self, hits: BoxHits) -> None:
        """Add the next object."""
        self._packed.append(bytes.fromhex("".join((*hits.grid, *hits.centre, hits.largest))))
        self._answered.extend((hits.answered,))

    def built(self) -> ObjectFlags | None:
        """Those of all objects; None if there are none."""
        return ObjectFlags(self._packed, self._answered.built() == 1) if len(self._packed) else None


@dataclass(frozen=True)
class Way:
    """The flags of one way of making boxes, (objects, IoUs, bytes), some thousand objects at a time."""

    flags: ObjectFlags
    way: Callable[[Packed, Packed], Packed]

    def __iter__(self) -> Iterator[Packed]:
        for sets, answered in self.flags.parts():
            yield self.way(sets, np.where(answered, np.uint8(0xFF), np.uint8(0))[:, None, None])
