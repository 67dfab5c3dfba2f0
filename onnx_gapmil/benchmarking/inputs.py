"""Concrete shapes for the inputs of a model: batch, height and width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError, PreprocessError
from onnx_gapmil.graph.inputs import InputShape, concrete_inputs
from onnx_gapmil.images.input_spec import InputSpec, image_spec
from onnx_gapmil.images.resolve import resolve_preprocess
from onnx_gapmil.rewriting.resized import at_size

if TYPE_CHECKING:
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph


@dataclass(frozen=True)
class InputSize:
    """Height and width to measure at.

    Attributes:
        size: (height, width) in pixels; None where the graph has no open axis but the batch.
        source: where it comes from, as the end of a sentence.
    """

    size: tuple[int, int] | None
    source: str


def choose_size(graph: ModelGraph, loaded: LoadedModel, traced: Trace, wanted: tuple[int, int] | None) -> InputSize:
    """Choose the image size: what was asked for, else what the preprocessing states, else what the model ran at.

    Args:
        graph: the model.
        loaded: the same as read; a preprocessing JSON may lie beside it.
        traced: the sizes that it was traced at.
        wanted: (height, width), or None.

    Raises:
        InputError: the graph fixes another size than the one wanted.
        PreprocessError: the JSON beside the model is damaged.
    """
    spec = _image_input(traced)
    if not any(entry.space_is_open for entry in traced.inputs):
        fixed = _size(spec) if spec is not None else None
        if wanted is not None and wanted != fixed:
            found = f"{fixed[0]}x{fixed[1]}" if fixed is not None else "other sizes"
            raise InputError(
                f"--size {wanted[0]}x{wanted[1]}: the graph of {loaded.name} fixes its input to {found} "
                "(height x width); leave --size out."
            )
        return InputSize(None, "fixed by the graph" if wanted is None else "as asked for")
    if wanted is not None:
        return InputSize(wanted, "as asked for")
    stated = _stated_size(spec, loaded) if spec is not None else None
    if stated is not None:
        return InputSize(stated, "from the preprocessing beside the model or in it")
    height, width = traced.inputs[0].traced[-2:] if spec is None else _traced_size(spec, traced)
    return InputSize((height, width), "assumed, as the graph takes any; --size chooses another")


def with_size(loaded: LoadedModel, wanted: tuple[int, int] | None) -> LoadedModel:
    """A model of one image opened for a size, where its graph fixes another; else the model itself.

    Raises:
        ModelError: its trunk does not allow that size.
    """
    spec = image_spec(loaded.proto)
    size = _size(spec) if spec is not None else None
    return loaded if size is None or None in size or loaded.is_rewritten else at_size(loaded, wanted)


def bench_inputs(graph: ModelGraph, batch: int, size: tuple[int, int] | None, name: str) -> tuple[InputShape, ...]:
    """All inputs at one batch size.

    Args:
        graph: the model.
        batch: images at a time.
        size: (height, width) for open axes; None if there are none.
        name: the model, for messages.

    Raises:
        InputError: the graph fixes another batch size.
    """
    inputs = concrete_inputs(graph, batch, size or (224, 224))
    first = inputs[0].traced[0] if inputs[0].traced else 1
    if first != batch:
        raise InputError(f"--batch {batch}: the graph of {name} takes batches of {first} only.")
    return inputs


def fixed_batch(traced: Trace) -> int | None:
    """The batch size that the inputs fix; None if they leave it open."""
    entry = traced.inputs[0]
    return None if entry.batch_is_open or not entry.declared else entry.traced[0]


def _image_input(traced: Trace) -> InputSpec | None:
    """The first input with four axes."""
    for entry in traced.inputs:
        if len(entry.declared) == 4:
            axes = tuple(axis if isinstance(axis, int) else None for axis in entry.declared)
            return InputSpec(entry.name, axes, entry.dtype.name)
    return None


def _size(spec: InputSpec) -> tuple[int | None, int | None] | None:
    try:
        return spec.size()
    except PreprocessError:  # no picture, such as a feature map: it has no size to speak of
        return None


def _traced_size(spec: InputSpec, traced: Trace) -> tuple[int, int]:
    shape = next(entry.traced for entry in traced.inputs if entry.name == spec.name)
    try:
        last = spec.layout() == "NHWC"
    except PreprocessError:
        last = False
    return (shape[1], shape[2]) if last else (shape[2], shape[3])


def _stated_size(spec: InputSpec, loaded: LoadedModel) -> tuple[int, int] | None:
    """The size that a preprocessing states; None where none does, or the input is no picture."""
    if _size(spec) is None or spec.shape[1 if spec.layout() == "NCHW" else 3] not in (1, 3):
        return None
    resolved = resolve_preprocess(
        spec, request=None, model_path=loaded.path, metadata=loaded.metadata, proto=loaded.proto
    )
    return None if "size" in resolved.guessed else resolved.preprocess.size
