"""The image input of a model that was read, before any session of it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.images.input_spec import InputSpec, image_spec

if TYPE_CHECKING:
    from onnx_gapmil.graph.loading import LoadedModel


def model_input(model: LoadedModel) -> tuple[InputSpec | None, bool]:
    """The only input of a model, and whether it is one image, to which the graph itself adds the batch.

    Args:
        model: nothing of it is run.

    Returns:
        The input, with a batch of 1 before a single image; None of several. Whether it is an image is told by
        `InputSpec.channels`.
    """
    spec = image_spec(model.proto)
    if spec is None or len(spec.shape) != 3:
        return spec, False
    # onnx-graphsurgeon takes its time to load, and nearly all models have a batch.
    from onnx_gapmil.graph.inputs import OPEN_SIZES, concrete_inputs
    from onnx_gapmil.graph.view import ModelGraph

    (found,) = concrete_inputs(ModelGraph(model.proto, model.folder), 1, OPEN_SIZES[0])
    return image_spec(model.proto, alone=found.alone), found.alone
