"""The pointing game: does the best cell of the true class touch the object?

Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", arXiv 1608.00507. There the maximum of a map
at the size of the photo must lie within 15 pixels of the object. A cell is an area already, so here it counts if it
overlaps the box (or mask) by any area above zero. Of several equal highest cells all have to: a tie wins for nobody.

Photographers put the object in the centre, so the *centre baseline* stands beside it: whether the centre of the photo
lies in a box. A model earns what it has above that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Geometry, Rectangle


@dataclass(frozen=True, slots=True)
class Pointing:
    """The pointing games of one image, one for each object of its labels.

    Attributes:
        games: how many.
        hits: how many the grid won.
        centre: how many the centre of the photo would have won.
    """

    games: int
    hits: int
    centre: int

    @property
    def won(self) -> bool:
        """Whether the grid won all games."""
        return self.hits == self.games


def best_cells(cells: npt.NDArray[Any], label: int) -> npt.NDArray[np.intp]:
    """Flat indices of the highest cells of a class: one, or those that are equal; cells are (cells, K)."""
    own = cells[:, label]
    return np.flatnonzero(own == own.max())


def touches(cells: npt.NDArray[np.intp], overlap: npt.NDArray[np.float64]) -> bool:
    """Whether all of some cells, by their flat indices, overlap the object; ``overlap`` is (H, W)."""
    return bool((overlap.ravel()[cells] > 0.0).all())


def centre_in_boxes(boxes: tuple[Rectangle, ...], geometry: Geometry) -> bool:
    """Whether the centre of the photo lies in one of the boxes, their edges included."""
    y, x = geometry.image_size[0] / 2, geometry.image_size[1] / 2
    return any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes)


def centre_in_mask(mask: npt.NDArray[np.bool_]) -> bool:
    """Whether the pixel at the centre of a photo, (h, w), lies in its mask."""
    return bool(mask[mask.shape[0] // 2, mask.shape[1] // 2])
