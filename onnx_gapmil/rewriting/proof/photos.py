"""Photos as inputs for a proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.files.wording import count
from onnx_gapmil.images.decode import read_samples
from onnx_gapmil.images.model_input import model_input
from onnx_gapmil.images.resolve import resolve_preprocess
from onnx_gapmil.images.sources import find_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.graph.loading import LoadedModel


def image_batches(
    model: LoadedModel, images: Sequence[str], preprocess: str | None, *, no_guess: bool = False
) -> list[tuple[str, np.ndarray]]:
    """Each photo as a batch of one, for `onnx_gapmil.verify`.

    Args:
        model: the model that the photos are prepared for.
        images: files, folders and globs.
        preprocess: what the user asked for; see `resolve_preprocess`.
        no_guess: refuse a preprocessing that would be a guess.

    Returns:
        (path, array of the input's shape and dtype) for each photo.

    Raises:
        ImageError: a photo cannot be read, or nothing was found.
        PreprocessError: no preprocessing fits the model.
        ModelError: the model does not take one image.
    """
    spec, alone = model_input(model)
    if spec is None:
        weights = {tensor.name for tensor in model.proto.graph.initializer}  # which IR 3 lists among the inputs
        inputs = sum(value.name not in weights for value in model.proto.graph.input)
        which = f"has {count(inputs, 'input')}" if inputs != 1 else "takes no numbers"
        raise ModelError(f"{model.name} {which}; photos can only be fed to a model with one.")
    resolved = resolve_preprocess(
        spec, request=preprocess, model_path=model.path, metadata=model.metadata, proto=model.proto
    )
    if no_guess:
        resolved.require_stated()
    recipe = resolved.preprocess
    fixed = spec.shape[0] or 1
    found = []
    for path in find_images(images):
        array = np.empty(recipe.input_shape, recipe.input_dtype)
        recipe.prepare(read_samples(path), array, path)
        found.append((str(path), array if alone else np.repeat(array[None], fixed, axis=0)))
    return found
