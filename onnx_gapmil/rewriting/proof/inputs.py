"""What a proof feeds to a model: random arrays of its own shapes and types, and what the user gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.inputs import InputShape, candidate_inputs, concrete_inputs, random_input
from onnx_gapmil.graph.view import ModelGraph

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from onnx_gapmil.graph.loading import LoadedModel

#: Batches that an open batch axis is proved with.
_BATCHES = (3, 1)
#: Heights and widths that open axes are proved with.
_SIZES = ((224, 224), (256, 320))


def proof_inputs(
    original: LoadedModel, batches: Sequence[tuple[str, np.ndarray]]
) -> Iterator[tuple[str, dict[str, np.ndarray], bool]]:
    """What to feed: (name for people, arrays, whether it is only needed if nothing before it ran)."""
    graph = ModelGraph(original.proto, original.folder)
    if batches and len(graph.inputs) != 1:
        raise ModelError(f"{original.name} has {len(graph.inputs)} inputs; images can only be fed to one.")
    for label, array in batches:
        yield label, {graph.inputs[0].name: array}, False
    usual = list(_shapes(graph))
    spare = list(candidate_inputs(graph))
    for seed, entries in enumerate([*usual, *spare]):
        text = ", ".join(str(entry.traced) for entry in entries)
        yield (
            f"random {text}",
            {entry.name: random_input(entry, seed) for entry in entries},
            seed >= len(usual),
        )


def _shapes(graph: ModelGraph) -> Iterator[tuple[InputShape, ...]]:
    """Input shapes for the proof: two batches where the batch is open, two sizes where height and width are."""
    first = next(candidate_inputs(graph))
    batches = _BATCHES if any(entry.batch_is_open for entry in first) else (1, 1)
    sizes = _SIZES if any(entry.space_is_open for entry in first) else (_SIZES[0], _SIZES[0])
    for batch, size in zip(batches, sizes, strict=True):
        yield concrete_inputs(graph, batch, size)
