"""Weights of a pool for a terminal: a sentence, and the map in numbers where it is small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.files.printable import visible

if TYPE_CHECKING:
    from onnx_gapmil.lift.weighted_pools import WeightedPool

#: Rows and columns of the largest map that is printed; JSON has them all.
_MOST = 14
#: Columns of the widest map that has two spaces between them.
_APART = 10


def pool_weights_lines(pool: WeightedPool) -> list[str]:
    """What is said of the weights of one pool, a line each: the sentence, the heading of the map, its rows."""
    lines = [visible(f"weights of the pool at {pool.pool}, {pool.describe()}")]
    if pool.map is None:
        if pool.by != "image":
            lines.append("no map of them: the cells are not known to lie in rows and columns alone")
        return lines
    rows, columns = len(pool.map), len(pool.map[0])
    what = f"{pool.map_is}, {rows}×{columns}, in % of a plain mean's weight"
    if max(rows, columns) > _MOST:
        return [*lines, f"{what}: too large to print, see --json"]
    shown = [[_number(value) for value in row] for row in pool.map]
    width = max(len(text) for row in shown for text in row)
    between = "  " if columns <= _APART else " "
    return [*lines, f"{what}:", *("  " + between.join(text.rjust(width) for text in row) for row in shown)]


def _number(value: float) -> str:
    """A whole percentage, whose sign stands before a 0 that is rounded; a bare 0 is 0."""
    if value == 0:
        return "0"
    text = f"{100 * value:+.0f}"
    return text.removeprefix("+") if text != "+0" else text
