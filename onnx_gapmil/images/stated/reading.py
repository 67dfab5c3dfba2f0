"""All that a model's file says of its preprocessing, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images.stated.declared import declared_layout, read_declared
from onnx_gapmil.images.stated.first_nodes import FirstNodes, read_first_nodes
from onnx_gapmil.images.stated.metadata import read_metadata

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from onnx_gapmil.images.input_spec import InputSpec, Layout
    from onnx_gapmil.images.stated.statement import Statement


@dataclass(frozen=True)
class FileReading:
    """What a model's file says.

    Attributes:
        spec: its image input, with the layout that denotations declare.
        statements: in the order in which they are followed: metadata, denotations and words, first nodes.
        first_nodes: the last of them by themselves.
        notes: what was found and is not followed; sentences.
    """

    spec: InputSpec
    statements: tuple[Statement, ...] = ()
    first_nodes: FirstNodes = field(default_factory=FirstNodes)
    notes: tuple[str, ...] = ()


def read_file(
    proto: onnx.ModelProto | None, metadata: Mapping[str, str], spec: InputSpec, folder: Path | None = None
) -> FileReading:
    """Read metadata, the input's declaration, and the first nodes.

    Args:
        proto: the model; None reads its metadata alone.
        metadata: the model's `metadata_props`.
        spec: its image input, with a batch's axis.
        folder: where external data lies.
    """
    value = None
    if proto is not None:
        value = next((entry for entry in proto.graph.input if entry.name == spec.name), None)
    if value is not None:
        spec = replace(spec, declared=cast("Layout | None", declared_layout(value)))
    try:
        spec.channels()
    except PreprocessError:  # whoever wants a preprocessing for it is told
        return FileReading(spec)
    found = read_metadata(metadata, spec)
    declared = read_declared(value, spec) if value is not None else []
    first = read_first_nodes(proto, spec, folder) if proto is not None else FirstNodes()
    notes = (*found.notes, *([first.note] if first.note else []))
    return FileReading(spec, (*found.statements, *declared, *first.statements), first, notes)
