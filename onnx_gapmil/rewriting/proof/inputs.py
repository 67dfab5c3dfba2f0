"""What a proof feeds to a model: random arrays of its own shapes and types, and what the user gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.inputs import InputShape, candidate_inputs, concrete_inputs, random_input
from onnx_gapmil.graph.view import ModelGraph

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onnx_gapmil.graph.loading import LoadedModel

#: Batches that an open batch axis is proved with.
_BATCHES = (3, 1)
#: Heights and widths that open axes are proved with.
_SIZES = ((224, 224), (256, 320))
#: Between the seeds of two inputs; there are fewer runs.
_APART = 1000
Scale = Literal["normal", "three times", "0 to 255"]
#: How large the numbers of an image are: preprocessed as usual; large enough to reach what saturates; as in a photo
#: that nobody preprocessed.
SCALES: tuple[Scale, ...] = ("normal", "three times", "0 to 255")


def proof_inputs(
    original: LoadedModel, batches: Sequence[tuple[str, np.ndarray]], *, large: bool = True
) -> Iterator[tuple[str, dict[str, np.ndarray], bool]]:
    """What to feed: (name for people, arrays, whether it is only needed if nothing before it ran).

    Args:
        original: the model.
        batches: inputs that the user gives, as (name, array); they come first.
        large: feed numbers of all `SCALES`, not only the first.
    """
    graph = ModelGraph(original.proto, original.folder)
    if batches and len(graph.inputs) != 1:
        raise ModelError(f"{original.name} has {len(graph.inputs)} inputs; images can only be fed to one.")
    for label, array in batches:
        yield label, {graph.inputs[0].name: array}, False
    usual = list(_shapes(graph, SCALES if large else SCALES[:1]))
    spare = [(entries, SCALES[:1]) for entries in candidate_inputs(graph)]
    for seed, (entries, scales) in enumerate([*usual, *spare]):
        text = ", ".join(str(entry.traced) for entry in entries)
        more = f": {', '.join(scales)}" if scales != SCALES[:1] else ""
        yield (
            f"random {text}{more}",
            {
                # Inputs of one shape get numbers of their own: of equal ones the difference is 0.
                entry.name: _scaled(random_input(entry, seed + _APART * place), scales)
                for place, entry in enumerate(entries)
            },
            seed >= len(usual),
        )


def _shapes(graph: ModelGraph, scales: tuple[Scale, ...]) -> Iterator[tuple[tuple[InputShape, ...], tuple[Scale, ...]]]:
    """Input shapes for the proof: two batches where the batch is open, two sizes where height and width are.

    With each, how large the images' numbers are: of a batch one each, where it is open, so that no run is added.
    """
    first = next(candidate_inputs(graph))
    sizes = _SIZES if any(entry.space_is_open for entry in first) else (_SIZES[0], _SIZES[0])
    if any(entry.batch_is_open for entry in first):
        yield concrete_inputs(graph, _BATCHES[0], sizes[0]), scales
        yield concrete_inputs(graph, _BATCHES[1], sizes[1]), scales[:1]
        return
    floats = any(_is_scaled(entry.dtype) for entry in first)
    yield concrete_inputs(graph, 1, sizes[0]), scales[:1]
    for place, scale in enumerate(scales[1:] if floats and len(scales) > 1 else scales[:1]):
        yield concrete_inputs(graph, 1, sizes[1 - place % 2]), (scale,)


def _is_scaled(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _scaled(array: np.ndarray, scales: tuple[Scale, ...]) -> np.ndarray:
    """Standard normal numbers as large as asked for: of several scales, the images of a batch take turns."""
    if not _is_scaled(array.dtype) or array.ndim == 0:
        return array
    result = array.copy()
    for place, scale in enumerate(scales):
        chosen = slice(place, None, len(scales))
        if scale == "three times":
            result[chosen] = array[chosen] * 3
        elif scale == "0 to 255":
            result[chosen] = np.clip(array[chosen].astype(np.float32) * 128 + 128, 0, 255).astype(array.dtype)
    return result
