"""`at_size`: a model brought to another input size, and proved to be the vendor's at the original one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.errors import InputError, ModelError, PreprocessError
from onnx_gapmil.graph.branches import splice_branches
from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.inputs import InputShape, concrete_inputs
from onnx_gapmil.graph.loading import LoadedModel, limited_for
from onnx_gapmil.graph.open_dimensions import OpenDimensions
from onnx_gapmil.graph.trace import Trace, trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.images.input_spec import image_spec
from onnx_gapmil.rewriting.sizing.original import residual_at_original
from onnx_gapmil.rewriting.sizing.record import SIZE_KEY, Size, SizeRecord, said_size, size_of, size_text
from onnx_gapmil.rewriting.sizing.rules import RULES
from onnx_gapmil.rewriting.sizing.walk import SizeWalk

if TYPE_CHECKING:
    from onnx_gapmil.images.input_spec import InputSpec


#: Branches may hold branches, so many deep.
_NESTED = 8


def at_size(source: LoadedModel, size: Size | None) -> LoadedModel:
    """A model whose image input has a height and a width of the user's choice.

    An open size is only declared. Where the graph fixes another, what is baked for that in the trunk is made relative:
    targets of Reshape, Expand and Slice, sizes of Resize, windows that are the whole map
    (`onnx_gapmil.rewriting.sizing.rules`). At the original size the opened graph has to give the vendor's outputs; what
    it makes of another size no vendor has said.

    Args:
        source: the vendor's model.
        size: (height, width) in pixels; None leaves the model as it is.

    Returns:
        The model at that size, with a `SizeRecord` in its metadata; ``source`` itself where it is of that size.

    Raises:
        ModelError: the graph cannot be brought to that size; names the node and the tensor that forbid it. Or it was
            rewritten before.
        InputError: the model has no image input.
        ProofError: the opened graph does not give the vendor's outputs at the original size.
    """
    if size is None:
        return source
    found = size_of(source.metadata)
    if source.is_rewritten or found is not None:
        if found is not None and found.size == size:
            return source
        raise ModelError(
            f"--size {said_size(size)}: {source.name} was rewritten for the size that it has; give the vendor's "
            "original."
        )
    with limited_for(source):
        return _opened(source, size)


def _opened(source: LoadedModel, size: Size) -> LoadedModel:
    graph = ModelGraph(source.proto, source.folder)
    entry, spec = _image(graph, source)
    fixed = spec.size()
    if fixed == size:
        return source
    if fixed == (None, None):
        return _declared(source, source.proto, entry, spec, SizeRecord(size, None))
    if has_functions(source.proto):
        graph = ModelGraph(inline_functions(source.proto), source.folder)
    try:
        graph, traced = _without_branches(graph, entry, spec)
    except ModelError as error:
        raise type(error)(f"{source.name}: {error}") from error
    before = next(found for found in traced.inputs if found.name == entry.name)
    rows, columns = _axes(entry, spec)
    shape = list(before.traced)
    original = shape[rows], shape[columns]
    shape[rows], shape[columns] = size
    walk = SizeWalk(graph, traced, {entry.name: tuple(shape)}, size)
    try:
        nodes = walk.run(RULES)
    except ModelError as error:
        raise type(error)(f"{source.name}: {error}") from error
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    _redeclare_outputs(proto, walk, source)
    record = SizeRecord(size, original, tuple(walk.changes))
    opened = _declared(source, proto, entry, spec, record)
    if not walk.changes or not traced.measured:
        return opened
    back = _declared(source, proto, entry, spec, replace(record, size=original))
    record = replace(record, residual=residual_at_original(source, back, size))
    return _declared(source, proto, entry, spec, record)


def _without_branches(graph: ModelGraph, entry: InputShape, spec: InputSpec) -> tuple[ModelGraph, Trace]:
    """The graph with each If that takes the same branch at any size opened up, and its trace.

    PyTorch's legacy exporter squeezes an axis whose length it does not know by an If on its Shape. With the image's
    height and width declared open, what is computed from the dimensions that stay fixed is the same at every size.

    Raises:
        ModelError: it cannot be run.
    """
    traced = trace(graph)
    for _ in range(_NESTED):
        if not any(node.op_type == "If" for node in graph.proto.graph.node):
            break
        loose = onnx.ModelProto()
        loose.CopyFrom(graph.proto)
        declared = next(value for value in loose.graph.input if value.name == entry.name)
        for axis in _axes(entry, spec):
            declared.type.tensor_type.shape.dim[axis].ClearField("dim_value")
        opened = OpenDimensions(ModelGraph(loose, graph.folder), _declared_open(traced, entry, _axes(entry, spec)))
        proto = splice_branches(graph.proto, opened.value)
        if proto is graph.proto:
            break
        graph = ModelGraph(proto, graph.folder)
        traced = trace(graph)
    return graph, traced


def _declared_open(traced: Trace, entry: InputShape, axes: tuple[int, int]) -> Trace:
    """The same trace with these axes of the image said to be open."""
    inputs = [
        replace(
            found,
            declared=tuple(None if axis in axes else dim for axis, dim in enumerate(found.declared)),
        )
        if found.name == entry.name
        else found
        for found in traced.inputs
    ]
    return replace(traced, inputs=tuple(inputs))


def _image(graph: ModelGraph, source: LoadedModel) -> tuple[InputShape, InputSpec]:
    """The image input.

    Raises:
        InputError: there is none, or there are others beside it.
    """
    entries = concrete_inputs(graph, 1, (224, 224))
    spec = image_spec(source.proto, alone=len(entries) == 1 and entries[0].alone)
    if spec is None:
        raise InputError(f"--size: {source.name} takes {len(entries)} inputs, and a size is that of one image.")
    try:
        spec.channels()
    except PreprocessError as error:
        raise InputError(f"--size: {source.name} takes no image. {error}") from error
    return entries[0], spec


def _axes(entry: InputShape, spec: InputSpec) -> tuple[int, int]:
    """The axes of height and width."""
    first = (2 if spec.layout() == "NCHW" else 1) - int(entry.alone)
    return first, first + 1


def _declared(
    source: LoadedModel, proto: onnx.ModelProto, entry: InputShape, spec: InputSpec, record: SizeRecord
) -> LoadedModel:
    """A copy with the size declared, of its input and in its metadata; it says no shapes of tensors within."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    del made.graph.value_info[:]
    declared = next(value for value in made.graph.input if value.name == entry.name)
    for axis, length in zip(_axes(entry, spec), record.size, strict=True):
        dim = declared.type.tensor_type.shape.dim[axis]
        dim.ClearField("dim_param")
        dim.dim_value = length
    kept = [found for found in made.metadata_props if found.key != SIZE_KEY]
    del made.metadata_props[:]
    made.metadata_props.extend([*kept, onnx.StringStringEntryProto(key=SIZE_KEY, value=size_text(record))])
    return replace(source, proto=made)


def _redeclare_outputs(proto: onnx.ModelProto, walk: SizeWalk, source: LoadedModel) -> None:
    """Outputs that are maps grow with the input; a batch must not.

    Raises:
        ModelError: an output's first axis would grow.
    """
    for value in proto.graph.output:
        kind = value.type.tensor_type
        for axis in walk.changed(value.name) if kind.HasField("shape") else ():
            if axis == 0:
                raise ModelError(
                    f"{source.name}: its output '{value.name}' would have {walk.shape(value.name)[0]} items where "
                    f"the original size gives {walk.old_shape(value.name)[0]}: the graph takes a larger image for a "
                    "larger batch. Leave --size out."
                )
            if axis < len(kind.shape.dim):
                kind.shape.dim[axis].ClearField("dim_param")
                kind.shape.dim[axis].dim_value = walk.shape(value.name)[axis]
