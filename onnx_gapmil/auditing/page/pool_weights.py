"""The weights of a pool beside the maps of the images: a map of the grid's cells, with sign, zeros and scale."""

from __future__ import annotations

import numpy as np

from onnx_gapmil.auditing.summary import AuditedHead
from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.show.drawing.palette import diverging
from onnx_gapmil.show.html.markup import Markup, bdi, join, tag

#: Pixels of the longer side of a map, and of the largest cell.
_SIDE, _LARGEST = 260, 26
#: Cells of a map whose numbers are said where one points; a finer one would make the page heavy.
_SAID = 400
_STEPS = 41
_IN_CELLS = "The maps of the images have these weights in them."
_OVER_CELLS = "The maps of the images are the vendor’s cells, without these weights; the model’s answers weigh them so."
#: Of the scale: a dash on anything below it is white.
_DARK = -0.6


def pool_weights_figures(head: AuditedHead) -> Markup | None:
    """A figure for each pool whose weights are a map of the head's cells; None without any."""
    pools = [pool for pool in head.pool_weights if pool.map is not None and np.shape(pool.map) == head.grid_shape[2:]]
    return join([_figure(pool) for pool in pools]) if pools else None


def _figure(pool: WeightedPool) -> Markup:
    values = np.array(pool.map)
    most = float(np.abs(values).max()) or 1.0
    return tag(
        "figure",
        _map(values, most, f"Weights of the pool at {pool.pool}: {pool.describe()}"),
        tag(
            "figcaption",
            tag("h3", "Weights of the pool"),
            tag("p", bdi(pool.pool), f": {pool.describe()}"),
            tag("p", f"Shown: {pool.map_is}; 1 is a plain mean’s. {_IN_CELLS if pool.in_cells else _OVER_CELLS}"),
            _scale(values, most),
        ),
        class_="pool-weights",
    )


def _map(values: np.ndarray, most: float, what: str) -> Markup:
    rows, columns = values.shape
    side = min(_SIDE / max(rows, columns), _LARGEST)
    marks = []
    for (row, column), value in np.ndenumerate(values):
        where = {"x": int(column), "y": int(row), "width": 1, "height": 1}
        title = tag("title", f"row {row}, column {column}: {value:.3g}") if values.size <= _SAID else None
        fill = {"class_": "no-weight"} if value == 0 else {"fill": _hex(value / most)}
        marks.append(tag("rect", title, **where, **fill))
        if value < 0:
            kind = "below on-dark" if value < _DARK * most else "below"
            marks.append(tag("rect", x=column + 0.3, y=row + 0.44, width=0.4, height=0.12, class_=kind))
    return tag(
        "svg",
        marks,
        viewBox=f"0 0 {columns} {rows}",
        width=round(columns * side),
        height=round(rows * side),
        role="img",
        aria_label=what,
    )


def _scale(values: np.ndarray, most: float) -> Markup:
    """The scale with its ends and 0, and what marks a cell below 0 and one that is 0."""
    low = -most if (values < 0).any() else 0.0
    steps = [
        tag("rect", x=place, y=0, width=1.05, height=4, fill=_hex(level / most))
        for place, level in enumerate(np.linspace(low, most, _STEPS))
    ]
    zero = tag("rect", x=_STEPS / 2 - 0.25, y=0, width=0.5, height=4, class_="below") if low < 0 else None
    bar = tag("svg", steps, zero, viewBox=f"0 0 {_STEPS} 4", width=164, height=16, aria_hidden="true")
    return tag(
        "ul",
        tag("li", f"{low:.3g} ", bar, f" {most:.3g}"),
        tag("li", "mark on the scale: 0") if low < 0 else None,
        tag("li", "dash in a cell: below 0") if low < 0 else None,
        tag("li", tag("span", class_="swatch no-weight"), "exactly 0") if (values == 0).any() else None,
        class_="legend",
    )


def _hex(level: float) -> str:
    return f"#{diverging(np.array(level)).tobytes().hex()}"
