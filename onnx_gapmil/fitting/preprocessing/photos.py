"""The labelled photos of a search: decoded once, resized once for each rule, normalized as often as asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import ImageError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.images.decode import read_samples
from onnx_gapmil.images.levels import FullScale, to_levels
from onnx_gapmil.images.preprocess import Preprocess

MAX_DECODED_BYTES = 2**30
"""Decoded photos beyond this are decoded again when needed: 48 photos of 12 megapixels are 1.7 GB."""


class Photos:
    """Photos by number, ready for any preprocessing.

    Args:
        paths: where the images lie.
        full_scale: of samples of more than 8 bits, which a search sees in 8.

    Attributes:
        failed: (path, why) of those that could not be read; they have no number.
        decoded: how often a file was decoded.
    """

    def __init__(self, paths: Sequence[Source], full_scale: FullScale = None) -> None:
        self._paths: list[Source] = []
        self._full_scale = full_scale
        self._pixels: dict[int, npt.NDArray[np.uint8]] = {}
        self._windows: dict[tuple[object, ...], npt.NDArray[np.uint8]] = {}
        self._room = MAX_DECODED_BYTES
        self.kept: list[int] = []
        self.failed: list[tuple[Source, str]] = []
        self.decoded = 0
        for position, path in enumerate(paths):
            try:
                pixels = self._decode(path)
            except ImageError as error:
                self.failed.append((path, str(error)))
                continue
            self._keep(len(self._paths), pixels)
            self._paths.append(path)
            self.kept.append(position)

    def __len__(self) -> int:
        return len(self._paths)

    def prepare(self, number: int, preprocess: Preprocess) -> npt.NDArray[Any]:
        """What `preprocess.apply` gives for one photo, without the batch axis.

        Raises:
            ImageError: the photo is too long and thin for the resize rule.
        """
        if preprocess.color == "GRAY" or preprocess.resize == "letterbox":
            # Grey is made before resizing, and the padding's colour depends on the mean: no window to share.
            return preprocess.apply(self._photo(number))[0]
        window = self._window(number, preprocess)
        return _of_window(preprocess).apply(window)[0]

    def _window(self, number: int, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
        """The pixels that the network sees, resized and cropped, (H, W, 3) RGB."""
        key = (number, preprocess.size, preprocess.resize, preprocess.crop, preprocess.interpolation)
        if key not in self._windows:
            self._windows[key] = _of_pixels(preprocess).apply(self._photo(number))[0]
        return self._windows[key]

    def _photo(self, number: int) -> npt.NDArray[np.uint8]:
        pixels = self._pixels.get(number)
        return pixels if pixels is not None else self._decode(self._paths[number])

    def _decode(self, path: Source) -> npt.NDArray[np.uint8]:
        self.decoded += 1
        samples = read_samples(path)
        if samples.dtype == np.uint8 and samples.ndim == 3 and self._full_scale is None:
            return samples
        try:
            levels = np.rint(to_levels(samples, self._full_scale)).astype(np.uint8)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from error
        return np.repeat(levels[:, :, None], 3, axis=2) if levels.ndim == 2 else levels

    def _keep(self, number: int, pixels: npt.NDArray[np.uint8]) -> None:
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._pixels[number] = pixels


@lru_cache(maxsize=256)
def _of_window(preprocess: Preprocess) -> Preprocess:
    """What is left to do for a photo that is resized and cropped already; kept, for the table that it holds."""
    return replace(preprocess, resize="squash", crop=1.0)


@lru_cache(maxsize=256)
def _of_pixels(preprocess: Preprocess) -> Preprocess:
    """Resizing and cropping alone."""
    return replace(preprocess, layout="NHWC", color="RGB", scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, dtype="uint8")
