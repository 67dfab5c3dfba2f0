"""The stimulus of a proof of place: stripes of the input are replaced by other noise, and the cells that move are seen.

Nothing of the graph is read: what a model does is all that counts, so that no way of spelling it can hide where its
cells look.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from onnx_gapmil.graph.inputs import InputShape, random_input

#: Runs a model: arrays by input's name in, a map (N, C, H, W) out, of a volume or a clip with more axes.
Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]

#: What an image is made of.
Noise = Literal["normal", "bytes", "bright", "dark"]
#: Stripes along one axis, at most; what lies between the middles of two is found by weighing them.
MAX_STRIPES = 16
#: Numbers that one run may be fed: 16 photos of 224 x 224.
_FED = 16 * 3 * 224 * 224
_CHANNELS = (1, 3, 4)
#: A map that differs by this part of itself among other images is made of them too. Scales that dynamic quantization
#: finds over the whole batch move one by less.
_MIXED = 0.05
#: Images in which a cell that is off now and then is on in one; and where the seeds of their noise begin.
_HELD, _HELD_SEEDS = 16, 1000


@dataclass(frozen=True)
class Responses:
    """How far each stripe of one axis moved each cell.

    Attributes:
        edges: where the stripes begin and end, in pixels; (S + 1,) int64.
        moved: root mean square change over the channels, (S, H, W) float64, or with as many axes as the map has; not
            finite where the model's numbers are not.
        level: root mean square of the map itself.
        parts: the same as ``moved`` of some of the map's channels, where it was joined of several maps.
        held: which cells hold the same in many other images too, bool (H, W); None where that was not looked at.
    """

    edges: np.ndarray
    moved: np.ndarray
    level: float
    parts: tuple[np.ndarray, ...] = ()
    held: np.ndarray | None = None

    def answered(self, rounding: float) -> bool:
        """Whether any cell moved by more than rounding explains, and all by a number.

        Args:
            rounding: as a share of the map itself.
        """
        return bool(np.isfinite(self.moved).all() and self.moved.max() > rounding * self.level)


def image_axes(shape: Sequence[int]) -> list[tuple[int, int]]:
    """What may be the axes of rows and columns of an input, the likeliest first; empty for what is no image.

    Args:
        shape: of a batch of images, or of one image; channels come first or last, and are 1, 3 or 4, or unknown.
    """
    if len(shape) not in (3, 4):
        return []
    first = (len(shape) - 2, len(shape) - 1)
    last = (first[0] - 1, first[1] - 1)
    known = shape[last[0]] in _CHANNELS, shape[first[1]] in _CHANNELS
    return [first] if known[0] else [last] if known[1] else [first, last] if len(shape) == 4 else [first]


class Stimulus:
    """Feeds one base image and its stripes to a model.

    Attributes:
        size: (H, W) of the map; of a volume (D, H, W), of a clip (T, H, W).
    """

    def __init__(
        self,
        run: Run,
        inputs: Sequence[InputShape],
        image: str,
        kind: Noise,
        seed: int,
        *,
        alone: bool = False,
        parts: Sequence[int] = (),
    ) -> None:
        """Run the base image.

        Args:
            run: the model, to the map that is to be looked at.
            inputs: all of its inputs.
            image: the input that the stripes are of; of rank 4, or of rank 3 with an open batch, it is a batch.
            kind: of the noise in floats.
            seed: of the noise.
            alone: whether it is one image without a batch, (H, W, C), whose first axis may be open too.
            parts: how many channels each of the maps has that the map was joined of; none of one map.
        """
        self._parts = [0, *np.cumsum(parts, dtype=int).tolist()]
        self._run, self._inputs = run, tuple(inputs)
        self._kind: Noise = kind
        self._seed, self._alone = seed, alone
        self._others: list[Stimulus] = []
        self._entry = next(entry for entry in inputs if entry.name == image)
        self._open = self._entry.batch_is_open and not alone
        self._batched = len(self._entry.traced) == 4 or self._open
        self._image, self._other = (noise(self._one(self._entry), kind, 2 * seed + late) for late in (0, 1))
        self._beside = {
            entry.name: noise(self._one(entry), kind, 2 * seed) for entry in inputs if entry is not self._entry
        }
        # A fixed batch is filled; an open one takes any number.
        self._width = self._entry.traced[0] if self._batched and not self._open else 1
        base = self._maps([self._image] * self._width)
        self.size: tuple[int, ...] = base.shape[2:]
        # A model that folds crops or frames into its batch gives more maps than it takes images.
        self._folds = len(base) != self._width
        self._base = base if self._folds else base[:1]
        self._runs = 1

    def mixes_images(self) -> bool:
        """Whether the map of the base image is another among other images of a batch: one of it is not one image's.

        It is run as the second of a batch, after an image of other noise and before two of zeros, so that a batch that
        is turned round, rolled, added up or normalized as a whole shows. A batch of a fixed length that leaves fewer
        maps than images has made one of several. Where each image has several maps (crops, frames), as many may
        change with one of the images, whichever they are; of an open batch of such images that is not told.
        """
        if self._folds and self._width > 1:
            return self._mixes_parts()
        zeros = np.zeros_like(self._image)
        images = [self._other, self._image, zeros, zeros]
        if not self._open:
            images = [*images, *[zeros] * self._width][: self._width]
        if self._folds or len(images) < 2:
            return False
        self._runs += len(images)
        found = self._maps(images)
        if found.shape[0] != len(images):
            return True
        return bool(np.sqrt(np.mean((found[1] - self._base[0]) ** 2)) > _MIXED * self.level)

    def _mixes_parts(self) -> bool:
        """Whether one image of a fixed batch of equal ones has a part in more maps than are its own."""
        parts, rest = divmod(len(self._base), self._width)
        if rest or not parts:
            return True
        self._runs += self._width
        found = self._maps([self._image, self._other, *[self._image] * (self._width - 2)])
        changes = np.sqrt(np.mean((found - self._base).reshape(len(found), -1) ** 2, axis=1))
        return bool((changes > _MIXED * self.level).sum() > parts)

    def stripes(self, axis: int, count: int) -> Responses:
        """Replace stripe after stripe of one axis of the image.

        Args:
            axis: of the input.
            count: how many stripes.
        """
        edges = np.linspace(0, self._entry.traced[axis], count + 1).round().astype(np.int64)
        at = np.arange(edges[-1])
        chosen = [(at >= first) & (at < last) for first, last in itertools.pairwise(edges)]
        moved, *parts = self._changes(axis, chosen)
        return Responses(edges, moved, self.level, tuple(parts))

    def held(self) -> np.ndarray:
        """Which cells hold the same in many other images as in this one, bool (H, W).

        A cell of few channels may be off (ReLU) whatever one stripe shows.
        """
        found = np.ones(self.size, bool)
        self._runs += _HELD
        for seed in range(_HELD):
            image = noise(self._one(self._entry), self._kind, _HELD_SEEDS + seed)
            maps = self._maps([image] * self._width)[: len(self._base)]
            found &= (maps == self._base).all(axis=(0, 1))
        return found

    def others(self, count: int) -> list[Stimulus]:
        """So many other base images."""
        for seed in range(self._seed + 1 + len(self._others), self._seed + 1 + count):
            other = Stimulus(self._run, self._inputs, self._entry.name, self._kind, seed, alone=self._alone)
            self._others.append(other)
        return self._others[:count]

    @property
    def runs(self) -> int:
        """Forward passes so far, of this base image and the others, counted by the images that were looked at."""
        return self._runs + sum(other.runs for other in self._others)

    @property
    def level(self) -> float:
        """Root mean square of the map of the base image."""
        return float(np.sqrt(np.mean(self._base**2)))

    def replaced(self, axis: int, chosen: Sequence[np.ndarray]) -> np.ndarray:
        """Replace some lines of the image, and then others.

        Args:
            axis: of the input.
            chosen: for each run, which lines along that axis, (pixels,) bool.

        Returns:
            Root mean square change over the channels of each run, (n, H, W) float64.
        """
        return np.asarray(self._changes(axis, chosen)[0])

    def _changes(self, axis: int, chosen: Sequence[np.ndarray]) -> np.ndarray:
        """The same of all channels, then of each part of them, (1 + parts, n, H, W) float64."""
        images = []
        for lines in chosen:
            at = (slice(None),) * axis + (lines,)
            changed = self._image.copy()
            changed[at] = self._other[at]
            images.append(changed)
        step = self._together()
        self._runs += len(images)
        return np.concatenate([self._moved(images[at : at + step]) for at in range(0, len(images), step)], axis=1)

    def pixels(self, axis: int) -> int:
        """Length of the image along one axis of the input."""
        return self._entry.traced[axis]

    def _together(self) -> int:
        """How many images go into one run."""
        if self._open and not self._folds:
            return max(1, min(MAX_STRIPES, _FED // max(1, self._image.size)))
        return 1 if self._folds else self._width

    def _moved(self, images: list[np.ndarray]) -> np.ndarray:
        """Root mean square change of each image over all channels, then over each part, (1 + parts, n, H, W)."""
        count = len(images)
        change = (self._maps([*images, *[images[-1]] * (self._width - count)]) - self._base) ** 2
        if self._folds:
            change = change.mean(axis=0, keepdims=True)
        bounds = [(0, change.shape[1]), *itertools.pairwise(self._parts)]
        return np.sqrt([change[:count, first:last].mean(axis=1) for first, last in bounds])

    def _maps(self, images: list[np.ndarray]) -> np.ndarray:
        feeds = {
            entry.name: np.concatenate([self._beside[entry.name]] * len(images))
            if entry.batch_is_open
            else self._beside[entry.name]
            for entry in self._inputs
            if entry is not self._entry
        }
        feeds[self._entry.name] = np.concatenate(images) if self._batched else images[0]
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(self._run(feeds), dtype=np.float64)

    def _one(self, entry: InputShape) -> InputShape:
        """An input with one image in it, where its batch is the caller's to choose."""
        if self._batched if entry is self._entry else entry.batch_is_open:
            return replace(entry, traced=(1, *entry.traced[1:]))
        return entry


def noise(entry: InputShape, kind: Noise, seed: int) -> np.ndarray:
    """Noise in an input's type and of its shape: integers over all that a photo may hold.

    Args:
        entry: the input.
        kind: standard normal floats, or from 0 to 255, as models take them that normalize by themselves; bright and
            dark images hold the upper or the lower half of what normal ones do.
        seed: of the random numbers.
    """
    if entry.dtype.kind in "iu" and entry.dtype.itemsize > 1:
        found = np.random.default_rng(seed).integers(0, 256, entry.traced).astype(entry.dtype)
    elif entry.dtype.kind == "f" and kind == "bytes":
        return np.random.default_rng(seed).uniform(0, 255, entry.traced).astype(entry.dtype)
    else:
        found = random_input(entry, seed)
    if kind not in ("bright", "dark") or entry.dtype.kind == "b":
        return found
    if entry.dtype.kind not in "iu":
        return np.asarray(np.abs(found) if kind == "bright" else -np.abs(found))
    half = found.astype(np.int64) % 128 + (0 if kind == "dark" else 128)
    return np.asarray(half - (128 if entry.dtype == np.int8 else 0)).astype(entry.dtype)
