"""The shards of a data set: one file, those that a pattern names, or those of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from onnx_gapmil.data.files import ImageFinder, inside, printable, shown
from onnx_gapmil.data.shards.members import UNPACK
from onnx_gapmil.data.splits import SPLITS
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place
from onnx_gapmil.files.wording import of_are
from onnx_gapmil.images.sources import natural_key

MAX_IMAGES = 20_000_000
"""Images of one data set, at most: a small file can promise any number of rows."""

COMPRESSED = re.compile(r"\.(tgz|tbz2?|txz|tar\.(gz|bz2?|xz|zst|lz4?|lzma|z))$", re.IGNORECASE)
"""How the names of compressed tars end, which are not read."""

PARQUET, TAR = frozenset({".parquet"}), frozenset({".tar"})
_NUMBERED = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]{8,})?")
_WORDS = re.compile(r"[a-z]+")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAGIC = re.compile(r"[*?\[{]")


@dataclass(frozen=True, slots=True)
class ShardSet:
    """Files that are one data set.

    Attributes:
        shards: in order, at least one.
        root: the folder that their names are relative to.
        what: what is read, for sentences.
        notes: what is to be said of the list itself.
    """

    shards: tuple[Place, ...]
    root: Place
    what: str
    notes: tuple[str, ...] = ()

    def name(self, shard: Place) -> str:
        """The key of a shard: relative to the root, with ``/``."""
        return printable(inside(shard, self.root))

    def finder(self, shard: Place) -> ImageFinder:
        """Finds files that a shard names: beside it, or below the root."""
        return ImageFinder([shard.parent, self.root])


def unread_archive(place: Place) -> str:
    """Why an archive is not read as it is, and what to do, for a message; "" of another file."""
    if COMPRESSED.search(place.name):
        return f"a compressed tar, and {UNPACK}"
    if place.suffix.lower() == ".zip":
        return f"an archive: unpack it, or give it as zip://::{place}, which takes onnx-gapmil[remote]"
    return ""


def is_pattern(path: Place) -> bool:
    """Whether a path that does not exist names several shards."""
    return _MAGIC.search(path.name) is not None and path.suffix.lower() in PARQUET | TAR


def shards_of_pattern(pattern: Place, *, one_split: bool = True) -> ShardSet:
    """The shards that a glob, or a range in braces as WebDataset writes it, names.

    Args:
        pattern: the path.
        one_split: see `shard_set`.

    Raises:
        DataError: none is there, or they are of several splits.
    """
    folder, name = pattern.parent, pattern.name
    braces = _BRACES.search(name)
    if braces is not None:
        found = [folder / entry for entry in _expanded(name, braces)]
        missing = [path for path in found if not path.is_file()]
        if missing:
            raise DataError(f"{pattern}: {len(missing):,} of the {len(found):,} shards are not there: {missing[0]}.")
    else:
        found = sorted((path for path in folder.glob(name) if path.is_file()), key=natural_key)
    if not found:
        raise DataError(f"{pattern}: no such file; the pattern names none.")
    return shard_set(found, folder, one_split=one_split)


def _expanded(name: str, braces: re.Match[str]) -> list[str]:
    first, last = int(braces[1]), int(braces[2])
    if not first <= last < first + 100_000:
        raise DataError(f"{name}: the range {braces[0]} is empty, or has more than 100,000 shards.")
    width = len(braces[1])
    return [f"{name[: braces.start()]}{number:0{width}}{name[braces.end() :]}" for number in range(first, last + 1)]


def shards_in(folder: Place, endings: frozenset[str]) -> list[Place]:
    """The shards in a folder, or in its folder `data`, in order; none where there are none."""
    for place in (folder, folder / "data"):
        if place.is_dir():
            entries = (entry for entry in place.iterdir() if not entry.name.startswith("."))
            found = [entry for entry in entries if entry.suffix.lower() in endings and entry.is_file()]
            if found:
                return sorted(found, key=natural_key)
    return []


def shard_set(shards: Sequence[Place], root: Place, *, one_split: bool = True) -> ShardSet:
    """Shards that are read together.

    Args:
        shards: in order.
        root: the folder that their names are relative to.
        one_split: whether several splits are refused: measured together they would be no data set.

    Raises:
        DataError: they are of several splits.
    """
    splits: dict[str, list[Place]] = {}
    for shard in shards:
        if (split := _split(shard)) is not None:
            splits.setdefault(split, []).append(shard)
    if len(splits) > 1 and one_split:
        listed = ", ".join(_pattern(split, found) for split, found in splits.items())
        place = shards[0].parent
        raise DataError(f"{place}: it has the shards of several splits; give one, in quotes: {listed}.")
    where = shown(root)
    many = shards[0].name if len(shards) == 1 else f"{len(shards):,} shards ({shards[0].name}, ...)"
    return ShardSet(tuple(shards), root, f"{many} in {where}", _missing(shards) if len(shards) > 1 else ())


def _split(shard: Place) -> str | None:
    """The split that a shard's name says: before `-00000-of-00004`, else the last word that is a split's."""
    if (numbered := _NUMBERED.fullmatch(_stem(shard))) is not None:
        return numbered["split"]
    words = [word for word in _WORDS.findall(_stem(shard).lower()) if word in SPLITS]
    return words[-1] if words else None


def _pattern(split: str, shards: Sequence[Place]) -> str:
    """A pattern of a split's shards: what their names begin with, where that says the split."""
    if len(shards) == 1 and _NUMBERED.fullmatch(_stem(shards[0])) is None:
        return shards[0].name
    begin = os.path.commonprefix([shard.name for shard in shards]).rstrip("0123456789")  # noqa: RUF071 (names)
    if _NUMBERED.fullmatch(_stem(shards[0])) is not None:
        begin = f"{split}-"
    return f"{begin if split in begin.lower() else f'*{split}'}*{shards[0].suffix}"


def _stem(shard: Place) -> str:
    return shard.name.removesuffix(shard.suffix)


def _missing(shards: Sequence[Place]) -> tuple[str, ...]:
    """Shards that the names of the others promise."""
    splits: dict[tuple[str, int], set[int]] = {}
    for shard in shards:
        if (match := _NUMBERED.fullmatch(_stem(shard))) is not None:
            splits.setdefault((match["split"], int(match["count"])), set()).add(int(match["number"]))
    for (split, promised), there in splits.items():
        lacking = sorted({*range(min(promised, 100_000))} - there)
        if lacking:
            first = ", ".join(f"{split}-{number:05}-of-{promised:05}" for number in lacking[:3])
            more = ", ..." if len(lacking) > 3 else ""
            return (f"{of_are(len(lacking), promised, 'shard')} not there: {first}{more}.",)
    return ()
