"""What is said of a model that is used at a size of the user's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.files.printable import visible
from onnx_gapmil.rewriting.sizing.edges import edge_note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx_gapmil.images.places import Places
    from onnx_gapmil.rewriting.sizing.record import SizeRecord

#: Changed nodes that are named; all of them are in the JSON.
_LISTED = 4


def size_lines(record: SizeRecord | None, places: Iterable[Places]) -> list[str]:
    """The lines for people; none of a model at its own size.

    Args:
        record: at which size the model is used.
        places: where the cells of its heads look.
    """
    if record is None:
        return []
    lines = [record.describe(), *(visible(change) for change in record.changes[:_LISTED])]
    if len(record.changes) > _LISTED:
        lines.append(f"and {len(record.changes) - _LISTED} more nodes that were made relative")
    edges = dict.fromkeys(edge_note(record.size, found) for found in places)
    return [*lines, *(note for note in edges if note)]
