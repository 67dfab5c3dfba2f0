"""A run in parts on several machines: which batches belong to which part, and what a part says of itself.

A part, a *shard*, is asked for as ``i/N``, with i from 0. The batches of a sharded run are those of the whole run, each
with the same images, and a shard is made of whole batches: what a batch's neighbours change in the last digits (kernels
chosen by size, integers whose range is chosen as they run), they change alike. Batches are dealt out in the order of a
hash of their first image's key: the same on any machine, no run of one class or camera in one shard, and no shard with
more than one batch above another.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import require_replaceable
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.reading import read_bytes
from onnx_gapmil.files.serial import from_json
from onnx_gapmil.files.writing import require_writable, write_whole

SCHEMA_VERSION = 1
#: What a finished shard says of itself, in its result folder.
MARK = "shard.json"
#: Where its journal lies, in its result folder.
JOURNAL = "shard"
#: Where the shards of a run on a cluster lie until they are put together, in the result folder of the whole.
CLUSTER = ".ray"
_LARGEST_FILE = 2**26
_NAMED = 8
_FORM = re.compile(r"(0|[1-9]\d{0,6})/([1-9]\d{0,6})")


@dataclass(frozen=True)
class Shard:
    """A part of a run.

    Attributes:
        index: from 0.
        count: of parts.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/N``.

        Raises:
            InputError: it is none, or i is not below N.
        """
        found = _FORM.fullmatch(text)
        if found is None or int(found[1]) >= int(found[2]):
            raise InputError(f"{text!r} is no shard: i/N with i from 0 to N - 1, as in 0/4, 1/4, 2/4 and 3/4.")
        return cls(int(found[1]), int(found[2]))

    def places(self, keys: Sequence[str]) -> list[int]:
        """Which batches are this shard's, in order.

        Args:
            keys: of the first image of each batch of the whole run.
        """
        order = sorted(range(len(keys)), key=lambda place: (_hash(keys[place]), place))
        return sorted(order[self.index :: self.count])

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def shard_of(shard: Shard | str | None) -> Shard | None:
    """A shard by its text, or as it is.

    Raises:
        InputError: the text is none.
    """
    return Shard.parse(shard) if isinstance(shard, str) else shard


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What every verb's shard says, each of its own type."""

    schema_version: int = SCHEMA_VERSION
    verb: str
    shard: str
    images: int
    done: int
    failed: int
    folder: str
    machine: str
    identity: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ShardResult(_Facts):
    """What a finished shard says of itself: ``shard.json`` in its folder.

    Attributes:
        verb: whose run it is a part of: "audit", "compare" or "predict".
        shard: ``i/N``.
        images: of the whole run.
        done: images of this shard.
        failed: of these, how many were kept out.
        folder: the result folder, as it was named.
        machine: the processor, and the threads that each batch was divided among.
        identity: fingerprints of what has to be the same in all shards, by the words that a user is told.
        details: what the verb needs to put its shards together.
        schema_version: of the file.
    """

    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dict(vars(self))

    def save(self, folder: Path) -> None:
        """Write it: the shard is finished.

        Raises:
            InputError: it cannot be written.
        """
        write_whole(folder / MARK, f"{json_text(self.to_json(), indent=2)}\n".encode())


@dataclass(frozen=True)
class FinishedShard:
    """A finished shard that was found.

    Attributes:
        folder: where.
        result: what it says of itself.
    """

    folder: Path
    result: ShardResult

    @property
    def shard(self) -> Shard:
        """Which part it is."""
        return Shard.parse(self.result.shard)

    @property
    def journal(self) -> Path:
        """Where its records lie."""
        return self.folder / JOURNAL


def find_shards(folders: Sequence[Path]) -> tuple[FinishedShard, ...]:
    """All shards of one run, by number.

    Args:
        folders: their result folders, in any order.

    Raises:
        InputError: one is missing, there twice, not finished, none, or of another run (model, data, options).
    """
    if not folders:
        raise InputError("No folder of a shard is given.")
    found = [_read(folder) for folder in folders]
    first = found[0]
    for other in found[1:]:
        _require_kin(first, other)
    by_index: dict[int, FinishedShard] = {}
    for each in found:
        double = by_index.setdefault(each.shard.index, each)
        if double is not each:
            raise InputError(f"{double.folder} and {each.folder} are both shard {each.shard}; name one of them.")
    total = first.shard.count
    missing = [str(Shard(index, total)) for index in range(total) if index not in by_index]
    if missing:
        more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
        raise InputError(
            f"Missing: shard {', '.join(missing[:_NAMED])}{more}. Run {first.result.verb} with --shard "
            f"{missing[0]}, and name {'its folder' if len(missing) == 1 else 'their folders'} too."
        )
    return tuple(by_index[index] for index in range(total))


def machines_note(shards: Sequence[FinishedShard]) -> str:
    """What is to be said where the shards ran on several kinds of machine; "" where on one."""
    kinds = sorted({each.result.machine for each in shards})
    if len(kinds) == 1:
        return ""
    return (
        f"The shards ran on {len(kinds)} kinds of machine ({'; '.join(kinds[:3])}{'; ...' if len(kinds) > 3 else ''}), "
        "whose numbers may differ in their last digits from those of one run."
    )


def require_same(shard: FinishedShard, here: Mapping[str, str]) -> None:
    """Make sure that models, data and settings are still those of the shards.

    Args:
        shard: one of them.
        here: the identity as it is now.

    Raises:
        InputError: something is another.
    """
    there = shard.result.identity
    other = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    if other:
        raise InputError(
            f"The shards were made with another {' and '.join(other)} than there is here. Merge where models and data "
            "are as they were; where the data lie, and of an audit the model, may be named with --data and --model."
        )


def unreadable(shard: FinishedShard) -> InputError:
    """Records of a shard are not there."""
    return InputError(
        f"{shard.folder}: records of shard {shard.shard} are missing or damaged; run its command again, which does "
        "what is missing."
    )


def require_division(folder: Path, results: Sequence[str], shard: Shard | None = None) -> None:
    """Make sure, before any work is done, that a run can write its results, and that it is of the folder's kind.

    Args:
        folder: of the results.
        results: names of what a whole run writes there.
        shard: the part that the run is; None of a whole one.

    Raises:
        InputError: the results cannot be written; or a shard would lie beside a whole run's, or that beside a shard's.
    """
    require_writable(folder)
    if shard is None:
        if (folder / MARK).exists() or (folder / JOURNAL).is_dir():
            raise InputError(f"{folder} holds a shard of another run; choose another folder.")
    elif there := next((name for name in results if (folder / name).exists()), None):
        raise InputError(f"{folder} holds the results of a whole run ({there}); choose another folder for a shard.")
    for name in results if shard is None else (MARK,):
        require_replaceable(folder / name)


def _read(folder: Path) -> FinishedShard:
    path = folder / MARK
    if not path.is_file():
        if (folder / JOURNAL).is_dir():
            raise InputError(f"{folder}: its shard is not finished; run its command again, which goes on.")
        raise InputError(f"{folder} holds no shard; name the result folders of runs with --shard i/N.")
    try:
        value = json.loads(read_bytes(path, InputError, expected="a shard", limit=_LARGEST_FILE))
        details = value.pop("details", {})
        found = from_json(_Facts, value)
        Shard.parse(found.shard)
        result = ShardResult(**{**vars(found), "details": details})
    except (ValueError, TypeError, AttributeError, RecursionError, InputError) as error:
        raise InputError(f"{path} is not what a finished shard writes ({error}); run it anew.") from error
    if result.schema_version != SCHEMA_VERSION:
        raise InputError(f"{path} is of another version of onnx-gapmil; run the shard anew.")
    return FinishedShard(folder, result)


def _require_kin(first: FinishedShard, other: FinishedShard) -> None:
    """Make sure that two shards are of one run."""
    here, there = first.result, other.result
    if here.verb != there.verb:
        raise InputError(f"{first.folder} is a shard of {here.verb}, {other.folder} one of {there.verb}.")
    if first.shard.count != other.shard.count:
        raise InputError(
            f"{first.folder} is shard {first.shard}, {other.folder} is shard {other.shard}: they are parts of "
            "different divisions."
        )
    differing = [
        key for key in {**here.identity, **there.identity} if here.identity.get(key) != there.identity.get(key)
    ]
    if differing or here.images != there.images:
        what = " and ".join(differing) or "number of images"
        raise InputError(
            f"{other.folder} is not a shard of the same run as {first.folder}: there is another {what}. Name the "
            "shards of one run."
        )


def _hash(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
