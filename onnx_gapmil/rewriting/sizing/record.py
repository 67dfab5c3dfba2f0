"""`SizeRecord`: at which input size a model is used, and what was changed in its graph for that."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.files.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping

Size = tuple[int, int]
"""(height, width) in pixels."""

#: Key of `metadata_props` under which a model says that it was brought to another size.
SIZE_KEY = "gapmil.size"
_LARGEST = 16384


@dataclass(frozen=True)
class SizeRecord:
    """At which input size a model is used that was made for another, or for any.

    Attributes:
        size: (height, width) of the input in pixels.
        original: the size that the vendor's graph fixes; None where it leaves it open.
        changes: what was changed in the graph, one phrase a node.
        residual: largest difference between the changed graph's outputs and the vendor's at the original size, relative
            to the largest value; 0 where all are equal bit for bit, None where nothing was changed.
    """

    size: Size
    original: Size | None
    changes: tuple[str, ...] = ()
    residual: float | None = None

    def describe(self) -> str:
        """One sentence for people, without its full stop."""
        now = said_size(self.size)
        if self.original is None:
            return f"{now} pixels (height x width), which the graph leaves open"
        made = f"{now} pixels (height x width), where the graph fixes {said_size(self.original)}"
        if self.residual is None:
            return made if not self.changes else f"{made}; it is too large to be run, so that is not proved there"
        equal = "bit for bit" if self.residual == 0 else f"to {self.residual:.1e} of the largest value"
        return f"{made}; at that size the opened graph gives the vendor's outputs {equal}"

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "size": list(self.size),
            "original": None if self.original is None else list(self.original),
            "changes": list(self.changes),
            "residual": self.residual,
        }


def size_of(metadata: Mapping[str, str]) -> SizeRecord | None:
    """What a model's metadata say of its size; None of a model that was not brought to one.

    Raises:
        ModelError: the entry is damaged.
    """
    text = metadata.get(SIZE_KEY)
    if text is None:
        return None
    try:
        found = json.loads(text)
        original = None if found["original"] is None else _pair(found["original"])
        changes = tuple(str(change) for change in found["changes"])
        residual = None if found["residual"] is None else float(found["residual"])
        return SizeRecord(_pair(found["size"]), original, changes, residual)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the metadata {SIZE_KEY!r} of the model are damaged; rewrite the vendor's original again."
        ) from error


def size_text(record: SizeRecord) -> str:
    """What `size_of` reads."""
    return json_text(record.to_json())


def said_size(size: Size) -> str:
    """``224x320``: height x width."""
    return f"{size[0]}x{size[1]}"


def parse_size(asked: str | int | Size | None) -> Size | None:
    """``"224x320"`` (height x width) as (224, 320); ``"224"`` and 224 are square.

    Raises:
        InputError: anything else, or an extent of 0 or above 16384 pixels.
    """
    if asked is None:
        return None
    if isinstance(asked, tuple):
        asked = "x".join(map(str, asked))
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", str(asked).strip().lower(), re.ASCII)
    if match is None:
        raise InputError(f"--size {asked!r}: write it as HEIGHTxWIDTH in pixels, like 224x224.")
    height, width = int(match[1]), int(match[2] or match[1])
    if not (1 <= height <= _LARGEST and 1 <= width <= _LARGEST):
        raise InputError(f"--size {asked!r}: each side has between 1 and {_LARGEST} pixels.")
    return height, width


def _pair(found: Any) -> Size:
    height, width = (int(side) for side in found)
    if not (1 <= height <= _LARGEST and 1 <= width <= _LARGEST):
        raise ValueError(f"no size: {found}")
    return height, width
