"""One image at a time, whatever it is given as: a path, pixels, samples, arrays; and what a model says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import ImageError, InputError, PreprocessError
from onnx_gapmil.files.arrays import is_array_file, read_arrays
from onnx_gapmil.files.blob import Source
from onnx_gapmil.images.decode import check_pixels, check_samples, read_samples
from onnx_gapmil.images.levels import depth_note
from onnx_gapmil.prediction.answers import ImagePrediction
from onnx_gapmil.prediction.describe import Describer
from onnx_gapmil.prediction.photo_input import PhotoInput
from onnx_gapmil.running.grid_session import GridSession

if TYPE_CHECKING:
    from collections.abc import Collection

    from onnx_gapmil.images.geometry import Geometry
    from onnx_gapmil.running.prediction_grid import PredictionGrid

Arrays = npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]]
"""What a model takes as it is: the array of its only input, or one for each of several by their names."""
Image = str | Path | Arrays
"""A photo: its path, or its pixels, upright: (H, W, 3), RGB, uint8, or samples of 16 bits, (H, W) or (H, W, 3). Or
arrays: their file, or they themselves."""


@dataclass(frozen=True)
class OneImage:
    """What a model says of one image at a time.

    Attributes:
        session: runs the model.
        photos: how photos become its input.
        describers: of the heads that are described, with their places in the session.
    """

    session: GridSession
    photos: PhotoInput
    describers: Sequence[tuple[int, Describer]]

    def of(self, image: Image) -> ImagePrediction:
        """The answer to an image.

        Raises:
            ImageError: a file cannot be read, or an array is neither a photo nor what the model takes.
            InputError: an array does not fit the model's input, or holds several items.
            ModelError: the model cannot be run.
        """
        spec = self.session.input
        if isinstance(image, Mapping) or (isinstance(image, np.ndarray) and not self.photos.is_photo(image, spec)):
            return self._of_given(image)
        path = None if isinstance(image, np.ndarray) else Path(image)
        if path is not None and is_array_file(path):
            arrays = read_arrays(path, list(self.session.inputs.by_name))
            only = next(iter(arrays.values()))
            if len(arrays) > 1 or not self.photos.is_photo(only, spec):
                return self.of_arrays(path, arrays)
            samples = check_samples(only)
        else:
            samples = check_samples(image) if isinstance(image, np.ndarray) else read_samples(Path(image))
        return self.of_samples(samples, path)

    def of_samples(self, samples: npt.NDArray[Any], path: Path | None = None) -> ImagePrediction:
        """The answer to a photo that is decoded; raises as `Classifier.predict_samples`."""
        used = self.photos.resolved.preprocess
        prepared = np.empty(used.input_shape, used.input_dtype)
        geometry = used.prepare(samples, prepared, path if path is not None else "the image")
        grids = tuple(self.session.run(prepared[None], outputs=("grid",)))
        found = self.described(path, used.shown(samples), geometry, grids)
        return replace(found, note=depth_note(samples, used.full_scale))

    def of_arrays(self, path: Source | None, arrays: Arrays, outputs: Collection[str] = ("grid",)) -> ImagePrediction:
        """The answer to arrays that go in as they are.

        Args:
            path: where they lie; None where nowhere.
            arrays: of one item, with or without the batch's axis.
            outputs: of the graph.

        Raises:
            InputError: they do not fit the model's input, or hold several items.
            ModelError: the model cannot be run.
        """
        feeds, count = self.session.inputs.fitted(arrays)
        if count != 1:
            raise InputError(
                f"{count} items were given, and one is described at a time; give each by itself, or run them all by "
                "GridSession.run."
            )
        grids = self.session.run(feeds, outputs=outputs)
        heads = tuple(describer.describe(grids[place], None) for place, describer in self.describers)
        shapes = {name: array.shape for name, array in feeds.items()}
        return ImagePrediction(path, None, None, heads, inputs=shapes)

    def described(
        self,
        path: Source | None,
        pixels: npt.NDArray[np.uint8] | None,
        geometry: Geometry,
        grids: Sequence[PredictionGrid],
    ) -> ImagePrediction:
        """A photo's answer in words.

        Args:
            path: where it lies; None where nowhere.
            pixels: (H, W, 3) RGB uint8, upright; None where they are not kept.
            geometry: where the input lies in it.
            grids: one for each head of the session, of one photo.
        """
        heads = tuple(describer.describe(grids[place], geometry) for place, describer in self.describers)
        return ImagePrediction(path, pixels, geometry, heads)

    def _of_given(self, arrays: Arrays) -> ImagePrediction:
        try:
            return self.of_arrays(None, arrays)
        except InputError as error:
            if isinstance(arrays, np.ndarray) and not isinstance(self.photos.found, PreprocessError):
                try:
                    check_pixels(arrays)
                except ImageError as photo:  # neither what the model takes nor a photo
                    raise ImageError(f"{photo} {error}") from error
            raise
