"""How much of the evidence for the answer lies outside the object.

**Evidence.** A cell speaks for class c by as much as its logit of c stands above the mean of its logits over all
classes: ``e[p] = max(G[c, p] - mean_k G[k, p], 0)``. Why less the mean: softmax does not change when all logits of a
cell move together, so they are known up to a constant only, and "positive" has no meaning before that is fixed. With
the mean at zero a cell that prefers nothing has no evidence, whatever its offset.

**Reliance** is the share of the evidence for the predicted class that lies outside the object, each cell's evidence
spread evenly over it: ``sum_p e[p] (1 - overlap[p]) / sum_p e[p]``. Areas and not whole cells, so that a coarse grid
and a small object do not round to nothing. Letterbox padding lies outside.

**Baselines.** A large object holds much of any map. So the same share is given for a map that knows nothing of the
object but its size: outside a box of the object's area and of the window's shape, in the centre of what the network
sees (`centred`), and its expectation for such a box anywhere in it, all places equally likely (`random`; a closed
form, no sampling). A model that looks at the object has a share below both.

The expectation, along one axis of length 1 for a side w: the box starts at u, uniform on [0, 1 - w], and covers
``clip(t - u, 0, w)`` of [0, t]. Its mean is ``F(t) = (h(t) - h(t - (1 - w))) / (1 - w)``, where h is the integral of
clip(z, 0, w): 0 below 0, z^2/2 up to w, w^2/2 + w (z - w) beyond. A cell from a to b is covered by F(b) - F(a), and the
two axes are independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics.overlap import cell_areas, cell_edges, overlaps

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Background:
    """Where the evidence for one image's prediction lies.

    Attributes:
        share: of the evidence outside the object; None if no cell speaks for the predicted class.
        centred: the same outside a centred box of the object's area; None as above.
        random: its expectation for such a box at a random place; None as above.
        only_background: the predicted class has the highest logit in no foreground cell and in some background cell.
    """

    share: float | None
    centred: float | None
    random: float | None
    only_background: bool


def evidence(cells: Array, label: int) -> Array:
    """(cells,): ``max(G[label] - mean over classes of G, 0)`` of a grid as (cells, K)."""
    return above_mean(cells[:, label], cells.mean(axis=1))


def above_mean(values: Array, means: Array) -> Array:
    """The part of each value above its mean; both (cells,)."""
    positive: Array = np.maximum(values - means, 0.0)
    return positive


def background_reliance(
    speaking: Array, won: npt.NDArray[np.bool_], overlap: Array, foreground: npt.NDArray[np.bool_], geometry: Geometry
) -> Background:
    """Measure one image.

    Args:
        speaking: (cells,), the `evidence` for the predicted class.
        won: (cells,), where the predicted class has the highest logit.
        overlap: (H, W), the share of each cell inside the object.
        foreground: (cells,).
        geometry: where the input lies in the photo.
    """
    only = not won[foreground].any() and bool(won.any())
    total = float(speaking.sum())
    if total <= 0.0:
        return Background(None, None, None, only)
    x, y = cell_edges(geometry, overlap.shape)
    areas = cell_areas(geometry, overlap.shape)
    side = float(np.sqrt((overlap * areas).sum() / areas.sum()))

    def outside(inside: Array) -> float:
        return float(min(max(1.0 - (speaking * inside.ravel()).sum() / total, 0.0), 1.0))

    return Background(
        share=outside(overlap),
        centred=outside(_cover_by(centred_overlap, x, y, side)),
        random=outside(_cover_by(random_overlap, x, y, side)),
        only_background=only,
    )


def centred_overlap(edges: Array, side: float) -> Array:
    """The overlap of a centred interval of length ``side`` with each of the intervals between edges in 0..1."""
    return overlaps(edges, (1.0 - side) / 2, (1.0 + side) / 2)


def random_overlap(edges: Array, side: float) -> Array:
    """The expected overlap of an interval of length ``side``, uniformly placed in 0..1; see the top of this module."""
    slack = 1.0 - side
    if slack < 1e-9:
        return np.diff(edges)
    means = (_ramp(edges, side) - _ramp(edges - slack, side)) / slack
    return np.diff(means)


def _ramp(z: Array, side: float) -> Array:
    """The integral of clip(z, 0, side)."""
    low = np.clip(z, 0.0, side)
    ramp: Array = low * low / 2 + side * np.maximum(z - side, 0.0)
    return ramp


def _cover_by(overlap: Callable[[Array, float], Array], x: Array, y: Array, side: float) -> Array:
    """(H, W): the overlap of cells by a box that has ``side`` of both sides of the window, given axis by axis."""
    shares = []
    for edges in (y, x):
        lengths = np.diff(edges)
        inside = overlap((edges - edges[0]) / (edges[-1] - edges[0]), side) * (edges[-1] - edges[0])
        shares.append(np.divide(inside, lengths, out=np.zeros_like(inside), where=lengths > 0.0))
    return np.outer(shares[0], shares[1])
