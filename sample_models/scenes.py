"""Scenes of several handwritten digits with one label each, to train the sample models on.

Every scene is a 96x96 RGB image with one to four digits of distinct classes from scikit-learn's
`load_digits`, lying on a colour gradient among dim strokes and scrambled pieces of other digits. As
in arXiv 2606.14555 the scene has a single label: the class of one of its digits, drawn at random.
The boxes of all the digits are kept, so that a prediction grid can be compared with what is really
there.

Scene number `i` of a seed depends on nothing but (split, seed, i): it can be made alone and is
always the same.

    python sample_models/scenes.py                                  # rewrites its folder scenes/
    python sample_models/scenes.py --count 400 --out DIR --seed 7   # a larger held-out set
"""

from __future__ import annotations

import argparse
import colorsys
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Split = Literal["train", "held_out"]
Box = tuple[int, int, int, int]
FloatArray = NDArray[np.float32]

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SCENE_SIZE = 96  # pixels, both sides
MAX_OBJECTS = 4
SHOW_FOLDER = Path(__file__).parent / "scenes"
SHOW_SEED = 1
# The held-out scenes of the gallery, chosen for their looks: (index, number of digits).
SHOW_SCENES = ((28, 1), (26, 2), (24, 2), (0, 3), (17, 3), (3, 4), (25, 4), (29, 4))

_GLYPH_HEIGHT = (23.0, 36.0)  # pixels that the 8 rows of a digit take in the scene
_SUPERSAMPLING = 3  # glyphs are drawn this much larger, then area-averaged: smooth edges
_GAP = 2  # pixels between the boxes of two digits, and to the border


@dataclass(frozen=True)
class SceneObject:
    """One digit of a scene.

    `label` is its class, 0 to 9. `box` is (x0, y0, x1, y1) in pixels of the scene, the tight bounds
    of its ink, x1 and y1 exclusive.
    """

    label: int
    box: Box


@dataclass(frozen=True)
class Scene:
    """One image and what is in it.

    `image` is RGB uint8 of shape (96, 96, 3); `label` is the scene's single label, the class of one
    of `objects`.
    """

    image: NDArray[np.uint8]
    label: int
    objects: tuple[SceneObject, ...]

    @property
    def present(self) -> frozenset[int]:
        """The classes that are really in the scene."""
        return frozenset(item.label for item in self.objects)


@dataclass(frozen=True)
class SceneSet:
    """Many scenes as arrays.

    `images` is RGB uint8 (N, 96, 96, 3), `labels` int64 (N,), `present` bool (N, 10): which classes
    are in each scene.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    present: NDArray[np.bool_]


@cache
def load_glyphs(split: Split) -> tuple[FloatArray, NDArray[np.int64]]:
    """Returns a split's handwritten digits: ink (N, 10, 10) float32 in [0, 1], and classes (N,).

    Every fifth digit of the data set is held out, so no digit of a held-out scene was ever trained
    on. The 8x8 digits get a margin of one empty pixel, which lets their strokes end smoothly.
    """
    digits = load_digits()
    held_out = np.arange(len(digits.target)) % 5 == 4
    chosen = held_out if split == "held_out" else ~held_out
    ink = np.pad(digits.images[chosen].astype(np.float32) / 16.0, ((0, 0), (1, 1), (1, 1)))
    return ink, digits.target[chosen].astype(np.int64)


def make_scene(split: Split, seed: int, index: int, count: int | None = None) -> Scene:
    """Makes scene `index` of a seed, with `count` digits (default: one to four, evenly drawn).

    Digits that find no free place are shrunk and tried again, so a scene always has the number
    asked for.
    """
    rng = np.random.default_rng([seed, index, 0 if split == "train" else 1])
    drawn = int(rng.integers(1, MAX_OBJECTS + 1))
    count = drawn if count is None else count
    glyphs, classes = load_glyphs(split)
    base_hue = float(rng.uniform(0.4, 0.98))  # green-blue to crimson: a dark yellow is only mud
    canvas = _background(rng, base_hue)
    _add_clutter(canvas, rng, base_hue, glyphs)

    objects: list[SceneObject] = []
    hues = (base_hue + 0.25 + 0.5 * (rng.permutation(count) + rng.random()) / count) % 1.0
    for label, hue in zip(rng.permutation(10)[:count], hues, strict=True):
        ink = glyphs[rng.choice(np.flatnonzero(classes == label))]
        mask, box = _place_glyph(rng, ink, [item.box for item in objects])
        _paint_digit(canvas, rng, mask, float(hue))
        objects.append(SceneObject(int(label), box))
    canvas += 0.012 * rng.standard_normal(canvas.shape, np.float32)
    image = (np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return Scene(image, objects[int(rng.integers(count))].label, tuple(objects))


def iter_scenes(split: Split, seed: int, total: int, count: int | None = None) -> Iterator[Scene]:
    """Yields scenes 0 to `total` - 1 of a seed."""
    return (make_scene(split, seed, index, count) for index in range(total))


def make_scene_set(split: Split, seed: int, total: int, count: int | None = None) -> SceneSet:
    """Makes `total` scenes as arrays; some milliseconds and 28 kB for each."""
    images = np.empty((total, SCENE_SIZE, SCENE_SIZE, 3), np.uint8)
    labels = np.empty(total, np.int64)
    present = np.zeros((total, len(CLASS_NAMES)), np.bool_)
    for index, scene in enumerate(iter_scenes(split, seed, total, count)):
        images[index], labels[index] = scene.image, scene.label
        present[index, list(scene.present)] = True
    return SceneSet(images, labels, present)


def _colour(hue: float, saturation: float, value: float) -> FloatArray:
    """Returns an HSV colour, all in [0, 1], as RGB float32 (3,) in [0, 1]."""
    return np.asarray(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def _bright_colour(hue: float, saturation: float) -> FloatArray:
    """Returns a colour whose luma is at least 0.5: a blue, whose own is 0.07, turns sky blue."""
    colour = _colour(hue, saturation, 1.0)
    luma = float(colour @ np.array([0.2126, 0.7152, 0.0722]))
    white = max(0.0, (0.5 - luma) / (1.0 - luma))
    return (colour * (1.0 - white) + white).astype(np.float32)


def _background(rng: np.random.Generator, hue: float) -> FloatArray:
    """Returns a dark, smooth colour gradient around a hue: (96, 96, 3) float32 in [0, 1]."""
    knots = np.stack(
        [_colour(hue + rng.uniform(-0.13, 0.13), rng.uniform(0.5, 0.85), rng.uniform(0.12, 0.42)) for _ in range(9)]
    ).reshape(3, 3, 3)
    smooth = cv2.resize(knots, (SCENE_SIZE, SCENE_SIZE), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0.0, 1.0)


def _add_clutter(canvas: FloatArray, rng: np.random.Generator, hue: float, glyphs: FloatArray) -> None:
    """Draws dim strokes and scrambled pieces of digits into `canvas`, in place."""
    for _ in range(int(rng.integers(3, 7))):
        mask = _stroke(rng)
        _blend(canvas, mask * rng.uniform(0.25, 0.6), _dim_colour(rng, hue))
    for _ in range(int(rng.integers(8, 15))):
        piece = _fragment(rng, glyphs)
        left, top = (int(place) for place in rng.integers(-6, SCENE_SIZE - 10, 2))
        here, visible = _overlap(piece, left, top)
        _blend(canvas[here], piece[visible] * rng.uniform(0.35, 0.75), _dim_colour(rng, hue))


def _dim_colour(rng: np.random.Generator, hue: float) -> FloatArray:
    """Returns a colour near the background's, somewhat lighter or darker."""
    return _colour(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.35, 0.75), rng.uniform(0.1, 0.68))


def _stroke(rng: np.random.Generator) -> FloatArray:
    """Returns the mask of a random stroke, a quadratic Bezier curve: (96, 96) float32 in [0, 1]."""
    start, bend, end = rng.uniform(-10, SCENE_SIZE + 10, (3, 2))
    t = np.linspace(0.0, 1.0, 24)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    mask = np.zeros((SCENE_SIZE, SCENE_SIZE), np.uint8)
    points = np.round(curve * 16).astype(np.int32)[:, None]  # 4 fractional bits
    cv2.polylines(mask, [points], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255.0


def _fragment(rng: np.random.Generator, glyphs: FloatArray) -> FloatArray:
    """Returns the mask of a rotated piece, 3 or 4 of 8 pixels, of a digit: (h, w) in [0, 1]."""
    ink = glyphs[int(rng.integers(len(glyphs)))]
    width, height = rng.integers(3, 5, 2)
    x, y = int(rng.integers(1, 10 - width)), int(rng.integers(1, 10 - height))
    piece = np.pad(ink[y : y + height, x : x + width], 1)
    return _render(piece, rng.uniform(*_GLYPH_HEIGHT) / 8.0, rng.uniform(-180.0, 180.0), 0.0)


def _render(ink: FloatArray, scale: float, degrees: float, shear: float) -> FloatArray:
    """Returns ink (h, w) enlarged, rotated and sheared as a mask (H, W) float32 in [0, 1].

    The ink's grey levels are interpolated, then cut at a level with a soft edge: an 8x8 digit
    becomes a pen stroke.
    """
    height, width = ink.shape
    side = int(np.ceil(1.3 * scale * max(height, width)))
    factor = scale * _SUPERSAMPLING
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = factor * turn @ np.array([[1.0, shear], [0.0, 1.0]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    middle = np.full(2, (side * _SUPERSAMPLING - 1) / 2)
    matrix = np.column_stack([linear, middle - linear @ centre])
    large = cv2.warpAffine(ink, matrix, (side * _SUPERSAMPLING,) * 2, flags=cv2.INTER_CUBIC)
    level = np.clip((large - 0.34) / 0.30, 0.0, 1.0)
    soft = level * level * (3.0 - 2.0 * level)
    return cv2.resize(soft, (side, side), interpolation=cv2.INTER_AREA)


def _overlap(patch: FloatArray, left: int, top: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Returns where a patch at (left, top) lies in the scene, and its part inside the border."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + patch.shape[1], SCENE_SIZE), min(top + patch.shape[0], SCENE_SIZE)
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def _place_glyph(rng: np.random.Generator, ink: FloatArray, taken: list[Box]) -> tuple[FloatArray, Box]:
    """Returns a digit's mask (96, 96) at a free place, and its box; a crowd makes it smaller."""
    smallest, largest = _GLYPH_HEIGHT
    while True:
        height = rng.uniform(min(smallest, largest), max(smallest, largest))
        patch = _render(ink, height / 8.0, rng.uniform(-10.0, 10.0), rng.uniform(-0.15, 0.15))
        rows, columns = np.flatnonzero(patch.max(1) > 0.4), np.flatnonzero(patch.max(0) > 0.4)
        w, h = int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
        for _ in range(30):
            x = int(rng.integers(_GAP, SCENE_SIZE - _GAP - w + 1))
            y = int(rng.integers(_GAP, SCENE_SIZE - _GAP - h + 1))
            box = (x, y, x + w, y + h)
            if all(_apart(box, other) for other in taken):
                mask = np.zeros((SCENE_SIZE, SCENE_SIZE), np.float32)
                here, visible = _overlap(patch, x - int(columns[0]), y - int(rows[0]))
                mask[here] = patch[visible]
                return mask, box
        largest -= 2.0


def _apart(a: Box, b: Box) -> bool:
    """Says whether two boxes keep the gap between them."""
    return a[2] + _GAP <= b[0] or b[2] + _GAP <= a[0] or a[3] + _GAP <= b[1] or b[3] + _GAP <= a[1]


def _paint_digit(canvas: FloatArray, rng: np.random.Generator, mask: FloatArray, hue: float) -> None:
    """Paints a digit in a bright, slightly shaded colour over a soft shadow, in place."""
    shadow = cv2.GaussianBlur(mask, (0, 0), 2.2)
    canvas *= 1.0 - 0.6 * np.roll(shadow, (1, 1), (0, 1))[..., None]
    saturation = rng.uniform(0.5, 0.95)
    upper = _bright_colour(hue, saturation)
    lower = _bright_colour(hue + rng.uniform(-0.08, 0.08), saturation)
    t = np.linspace(0.0, 1.0, SCENE_SIZE, dtype=np.float32)[:, None, None]
    _blend(canvas, mask, upper * (1 - t) + lower * t)


def _blend(canvas: FloatArray, mask: FloatArray, colour: FloatArray) -> None:
    """Lays a colour, (3,) or broadcastable to the canvas, over `canvas` by `mask`, in place."""
    canvas += mask[..., None] * (colour - canvas)


def write_scenes(scenes: Iterator[Scene], folder: Path) -> int:
    """Writes scenes as scene_00.png, ... and scenes.json into a folder; returns how many.

    scenes.json is a list of {"image", "label", "objects": [{"class", "box": [x0, y0, x1, y1]}]}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for index, scene in enumerate(scenes):
        name = f"scene_{index:02d}.png"
        cv2.imwrite(str(folder / name), cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))
        objects = [{"class": item.label, "box": list(item.box)} for item in scene.objects]
        records.append({"image": name, "label": scene.label, "objects": objects})
    lines = ",\n  ".join(json.dumps(record) for record in records)
    (folder / "scenes.json").write_text(f"[\n  {lines}\n]\n", encoding="utf-8")
    return len(records)


def main() -> None:
    """Writes the gallery, or with --count a larger held-out set."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, help="number of scenes (default: the gallery)")
    parser.add_argument("--out", type=Path, help="folder to write (default: sample_models/scenes)")
    parser.add_argument("--seed", type=int, default=7, help="which held-out set, with --count (default: 7)")
    arguments = parser.parse_args()
    if arguments.count is None:
        scenes: Iterator[Scene] = (make_scene("held_out", SHOW_SEED, index, count) for index, count in SHOW_SCENES)
    elif arguments.out is None:
        parser.error("--count needs --out")
    else:
        scenes = iter_scenes("held_out", arguments.seed, arguments.count)
    folder = arguments.out or SHOW_FOLDER
    print(f"{write_scenes(scenes, folder)} scenes written to {folder}")


if __name__ == "__main__":
    main()
