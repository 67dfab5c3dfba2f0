"""Run the images once, and keep what the fit reads of them."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.aggregate.pooled import pooled_logits
from onnx_gapmil.errors import DataError, ImageError
from onnx_gapmil.files.packed import Chosen
from onnx_gapmil.fitting.pooling.fits.fit import spread_of
from onnx_gapmil.fitting.pooling.learning import Material
from onnx_gapmil.fitting.pooling.store import make_store, memory_budget
from onnx_gapmil.running.pipeline import iterate_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from onnx_gapmil.data import Sample
    from onnx_gapmil.fitting.pooling.wish import FitWish
    from onnx_gapmil.images.preprocess import Preprocess
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.running.prediction_grid import PredictionGrid
    from onnx_gapmil.validation.refitting.images import FitImages

Array = npt.NDArray[np.float64]

#: Images by which the sharpness of log-sum-exp is settled.
_LOOKED_AT = 32
#: How far the layer that was read off may be from the grid, relative to its largest cell, by bytes of the grid's type.
_ALLOWED = {2: 2e-2, 4: 1e-3, 8: 1e-6}


@dataclass(frozen=True)
class Trunk:
    """What gives the grids.

    Attributes:
        classifier: the model.
        preprocess: how photos become inputs.
        batch: images at a time; None for what keeps the hardware busy.
        alone: each class is read by itself where the graph makes probabilities.
        layer: the vendor's last layer, where a fit reads features.
    """

    classifier: Classifier
    preprocess: Preprocess
    batch: int | None
    alone: bool
    layer: tuple[Array, Array] | None

    def run(self, samples: Sequence[Sample], wish: FitWish) -> Iterator[tuple[int, PredictionGrid | ImageError, int]]:
        """For each image its place, and its grids with the row that is its own, or why it cannot be read."""
        outputs = ("grid", "features") if wish.needs_features else ("grid",)
        paths = Chosen(samples, None, attrgetter("image"))
        batches = iterate_batches(self.classifier.session, self.preprocess, paths, batch=self.batch, outputs=outputs)
        place = 0
        with closing(batches):
            for answered in batches:
                row = 0
                for entry in answered.entries:
                    if isinstance(entry, ImageError):
                        yield place, entry, 0
                    else:
                        yield place, answered.grids[self.classifier.place], row
                        row += 1
                    place += 1


def aggregators_of(wish: FitWish, trunk: Trunk, images: FitImages) -> tuple[Aggregator, ...]:
    """The aggregators whose scores a fit reads, the mean first.

    A mix has the mean, the median, the best fifth and twentieth of the cells, log-sum-exp, the maximum, and the mean of
    the cells' probabilities. Log-sum-exp's r is one over the standard deviation of the cells of some images of the half
    that is fitted: r = 1 is the maximum already where logits are large.
    """
    mean = Aggregator("mean")
    if wish.kind != "mix":
        return tuple(dict.fromkeys((mean, wish.aggregator)))
    rows = np.flatnonzero(~images.held_out)
    chosen = np.random.default_rng(0).permutation(rows)[:_LOOKED_AT]
    found = [
        np.asarray(grids.grid[row], dtype=np.float64)
        for _, grids, row in trunk.run([images.samples[place] for place in chosen], wish)
        if not isinstance(grids, ImageError) and grids.grid is not None
    ]
    spread = spread_of(np.stack(found), images.likelihood.alone) if found else 1.0
    sharpness = float(f"{min(max(1.0 / spread, 0.01), 1000.0):.2g}") if np.isfinite(spread) else 1.0
    return (
        mean,
        Aggregator("median"),
        Aggregator("topk", 0.2),
        Aggregator("topk", 0.05),
        Aggregator("lse", sharpness),
        Aggregator("max"),
        Aggregator("prob_mean"),
    )


def collect(
    trunk: Trunk,
    images: FitImages,
    wish: FitWish,
    *,
    budget: int | None,
    progress: Callable[[int], None],
) -> tuple[Material, FitImages, list[str]]:
    """Run all images.

    Args:
        trunk: what gives the grids.
        images: the images.
        wish: what is fitted.
        budget: bytes that may be taken in memory; a quarter of what is free if None.
        progress: is told how many images are done.

    Returns:
        What is known of the images that can be read, these, and a sentence on each of the others.

    Raises:
        DataError: of an image the model gives what is no number; or no image can be read.
        InputError: there is no room for what is kept.
    """
    aggregators = aggregators_of(wish, trunk, images)
    keeper: _Keeper | None = None
    failures: list[str] = []
    good: list[int] = []
    for place, grids, row in trunk.run(images.samples, wish):
        if isinstance(grids, ImageError):
            failures.append(str(grids))
        else:
            if keeper is None:
                keeper = _Keeper(len(images.samples), grids, aggregators, trunk, wish, budget)
            keeper.keep(len(good), grids, row, images.samples[place].name)
            good.append(place)
        progress(place + 1)
    if keeper is None:
        raise DataError(f"Not one of the {len(failures)} images can be read. The first: {failures[0]}")
    kept = images.kept(np.array(good, dtype=np.intp))
    return keeper.material(kept), kept, failures


class _Keeper:
    """The arrays, filled image by image."""

    def __init__(
        self,
        number: int,
        first: PredictionGrid,
        aggregators: tuple[Aggregator, ...],
        trunk: Trunk,
        wish: FitWish,
        budget: int | None,
    ) -> None:
        grid = _present(first.grid)
        classes, cells = grid.shape[1], int(np.prod(grid.shape[2:]))
        self._size = grid.shape[2:]
        self._aggregators, self._trunk = aggregators, trunk
        shapes: dict[str, tuple[int, ...]] = {
            "scores": (number, len(aggregators), classes),
            "vendor": (number, classes),
        }
        if wish.needs_grid:
            shapes["grids"] = (number, classes, cells)
        if wish.needs_features:
            shapes["features"] = (number, _present(first.features).shape[1], cells)
        room = memory_budget() if budget is None else budget
        self._arrays = {name: make_store(shape, room // len(shapes)) for name, shape in shapes.items()}
        self._allowed = _ALLOWED.get(grid.dtype.itemsize, _ALLOWED[4])

    def keep(self, place: int, grids: PredictionGrid, row: int, name: str) -> None:
        """One image."""
        grid = np.asarray(_present(grids.grid)[row], dtype=np.float64)
        if grid.shape[1:] != self._size:
            cells, others = (" x ".join(map(str, size)) for size in (grid.shape[1:], self._size))
            raise DataError(
                f"{name}: its grid has {cells} cells, and those of the images before it {others}, so that no one pool "
                "fits them; bring all images to one size."
            )
        scores = [pooled_logits(entry, grid[None], alone=self._trunk.alone)[0] for entry in self._aggregators]
        self._arrays["scores"][place] = np.stack(scores)
        # The logits of a file that was repooled before are not its vendor's.
        own = self._trunk.classifier.head.pool == "mean"
        self._arrays["vendor"][place] = np.asarray(grids.logits)[row].reshape(-1) if own else scores[0]
        if "grids" in self._arrays:
            self._arrays["grids"][place] = grid.reshape(len(grid), -1)
        if "features" in self._arrays:
            features = np.asarray(_present(grids.features)[row])
            self._arrays["features"][place] = features.reshape(len(features), -1)
            self._check_layer(place, grid, name)
        if not all(np.isfinite(array[place]).all() for array in self._arrays.values()):
            raise DataError(
                f"{name}: the model gives what is no number (NaN or infinity) for this image, and nothing can be "
                "fitted to that; mend the image, or its preprocessing, or leave it out."
            )

    def _check_layer(self, place: int, grid: Array, name: str) -> None:
        """The layer that was read off must give the head's own grid."""
        if self._trunk.layer is None or place >= _LOOKED_AT:
            return
        weight, offset = self._trunk.layer
        found = weight @ self._arrays["features"][place].astype(np.float64) + offset[:, None]
        gap = np.abs(found - grid.reshape(len(grid), -1)).max() / max(float(np.abs(grid).max()), 1e-6)
        if gap > self._allowed:
            raise DataError(
                f"{name}: the head's last layer, read off, gives another grid than the head itself (by {gap:.1e} of "
                "its largest cell); fit 'mix' or an aggregator instead."
            )

    def material(self, images: FitImages) -> Material:
        """What a fit reads, of the images that were kept."""
        count = len(images.samples)
        arrays = {name: array[:count] for name, array in self._arrays.items()}
        return Material(
            self._aggregators,
            arrays["scores"],
            arrays["vendor"],
            images.likelihood,
            images.groups,
            images.strata,
            (math.prod(self._size[:-1]), self._size[-1]),
            arrays.get("grids"),
            arrays.get("features"),
            self._trunk.layer,
        )


def _present(array: npt.NDArray[np.floating] | None) -> npt.NDArray[np.floating]:
    if array is None:
        raise ValueError("the graph did not give what was asked for")
    return array
