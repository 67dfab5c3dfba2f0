"""The detective's ranking as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from onnx_gapmil.files.wording import are, column_percent, count

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onnx_gapmil.fitting.preprocessing.ranking import Ranking, RankingRow

_LEGEND = "* chosen   = cannot be told from it on these images"


def ranking_table(ranking: Ranking, *, rows: int | None = None) -> RenderableType:
    """The finding, and the table it stands on.

    Args:
        ranking: what `rank_presets` found.
        rows: how many rows are shown at most, best first; the chosen one always. By default all.
    """
    shown = _shown(ranking.rows, rows)
    parts: list[RenderableType] = [_table(ranking, shown), Text(_LEGEND, style="dim")]
    left_out = len(ranking.rows) - len(shown)
    if left_out:
        parts.append(Text(f"{are(left_out, 'more row')} left out.", style="dim"))
    parts += [
        Text(f"{count(len(ranking.failed), 'image')} could not be read. {path}: {reason}", style="yellow")
        for path, reason in ranking.failed[:1]
    ]
    parts.append(Text(ranking.sentence))
    return Group(*parts)


def _shown(rows: tuple[RankingRow, ...], limit: int | None) -> list[RankingRow]:
    if limit is None or len(rows) <= limit:
        return list(rows)
    first = list(rows[:limit])
    chosen = next((row for row in rows if row.chosen), None)
    return first if chosen is None or chosen in first else [*first[:-1], chosen]


def _table(ranking: Ranking, rows: list[RankingRow]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    offsets = len({row.offset for row in ranking.rows}) > 1
    table.add_column("", no_wrap=True)
    table.add_column("values", no_wrap=True)
    table.add_column("color", no_wrap=True)
    table.add_column("resizing")
    if offsets:
        table.add_column("offset", justify="right")
    for name in ("images", "top-1", "top-5", "log p", "cells 1", "cells 5"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            "*" if row.chosen else "=" if row.tied else "",
            row.name.removesuffix(" BGR").removesuffix(" RGB"),
            row.preprocess.color,
            row.resizing,
            *([f"{row.offset:+d}" if row.offset else "0"] if offsets else []),
            str(row.images),
            column_percent(row.top1),
            column_percent(row.top5),
            f"{row.log_prob:.2f}",
            column_percent(row.cell_agreement),
            column_percent(row.cell_top5),
            style="bold" if row.chosen else "",
        )
    return table
