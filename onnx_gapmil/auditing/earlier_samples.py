"""Whether the labelled images are those that an unfinished audit began with, told without an object for each."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.data import Sample
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.files.texts import Texts, TextsBuilder

if TYPE_CHECKING:
    from onnx_gapmil.auditing.preparation import PreparedData

Entry = tuple[str, ...]
_NAMED = 5
_UNKNOWN = "what it held is not known any more"


def entry_of(sample: Sample) -> Entry:
    """A sample as the journal keeps it: its name, a fingerprint of all that is known of it, and its path."""
    mask = str(sample.mask) if sample.mask is not None else None
    known = [sample.labels, [[box.box, box.classes] for box in sample.boxes], mask]
    return sample.name, hashlib.blake2b(json.dumps(known).encode(), digest_size=8).hexdigest(), str(sample.image)


def with_gone(
    prepared: PreparedData, known: Iterable[Entry], note: Callable[[str], None]
) -> tuple[PreparedData | None, str]:
    """The data set as it was, images that are gone in their old places, where reading them fails.

    Args:
        prepared: the data set as it is.
        known: the entries of what it was, read each time; a ValueError where they cannot be.
        note: is told which images are gone.

    Returns:
        The data set, or None and in words what is new or labelled otherwise.
    """
    try:
        if _same(prepared, known):
            return prepared, ""
        before = _Entries.of(known)
    except (ValueError, OverflowError):
        return None, _UNKNOWN
    if not len(before.names) or not before.names.differ():
        return None, _UNKNOWN
    now = _Entries.of(map(entry_of, prepared.samples))
    at = now.names.places_in(before.names)
    new, other = at < 0, (at >= 0) & (now.fingerprints != before.fingerprints[at])
    told = [f"new are {now.said(new)}"] if new.any() else []
    told += [f"labels, boxes or masks are others of {now.said(other)}"] if other.any() else []
    if not told and (np.diff(at) < 0).any():
        told = ["its images have another order"]
    if told:
        return None, "; ".join(told)
    gone = np.ones(len(before.names), dtype=np.bool_)
    gone[at] = False
    if not gone.any():
        return prepared, ""
    note(f"Counted as failed, since they are gone: {before.said(gone)}.")
    return dataclasses.replace(prepared, samples=PackedList(_placed(prepared, known, gone))), ""


def some(names: Iterable[str], count: int) -> str:
    """The first of so many names, and how many more there are."""
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    return ", ".join(itertools.islice(names, _NAMED)) + more


def _same(prepared: PreparedData, known: Iterable[Entry]) -> bool:
    """Whether images, labels, boxes and masks are what they were, wherever the images lie; compared line by line."""
    here = (entry_of(sample)[:2] for sample in prepared.samples)
    return all(own == entry[:2] for own, entry in itertools.zip_longest(here, known, fillvalue=()))


def _placed(prepared: PreparedData, known: Iterable[Entry], gone: npt.NDArray[np.bool_]) -> Iterator[Sample]:
    left = iter(prepared.samples)
    for (name, _, path), lost in zip(known, gone.tolist(), strict=True):
        yield Sample(Path(path), name, ()) if lost else next(left)


@dataclass(frozen=True)
class _Entries:
    """Entries in columns.

    Attributes:
        names: of the images.
        fingerprints: (images,), uint64.
    """

    names: Texts
    fingerprints: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> _Entries:
        """Those of entries.

        Raises:
            ValueError, OverflowError: one is none.
        """
        names, fingerprints = TextsBuilder(), array("Q")
        for name, fingerprint, _ in entries:
            names.add(name)
            fingerprints.append(int(fingerprint, 16))
        return cls(names.built(), np.array(fingerprints))

    def said(self, chosen: npt.NDArray[np.bool_]) -> str:
        """The names of some of them."""
        places = np.flatnonzero(chosen)
        return some(self.names.at(places[:_NAMED]), len(places))
