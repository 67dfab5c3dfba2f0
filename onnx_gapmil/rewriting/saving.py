"""Write a rewritten model: whole or not at all, beside its weights, and never over the original."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import protect, require_replaceable, watched_reads
from onnx_gapmil.files.mirroring import is_copy
from onnx_gapmil.files.sidecars import sidecars
from onnx_gapmil.files.urls import said
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.graph.loading import has_external_data, serialize

if TYPE_CHECKING:
    import onnx

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.rewriting.result import Rewrite


def default_output_path(path: Path) -> Path:
    """``MODEL.onnx`` becomes ``MODEL.gapmil.onnx`` beside it."""
    return path.with_name(f"{path.stem}.gapmil.onnx")


def beside_model(model: Path, ending: str) -> Path:
    """Where a result goes that no place was named for: ``MODEL.onnx`` becomes ``MODEL.ENDING.onnx`` beside it.

    Raises:
        InputError: the model is behind a URL, where nothing is written unasked.
    """
    if is_copy(model):
        raise InputError(f"{said(model)} is a URL, beside which nothing is written unasked; name the result with -o.")
    return model.with_name(f"{model.stem}.{ending}.onnx")


def require_place(source: LoadedModel, path: Path, what: str = "rewritten") -> None:
    """Make sure that a rewritten model may be written to a place.

    Args:
        source: the vendor's model.
        path: where to; for a model with external data it must be in the same folder as that data.
        what: was done to the model, for messages.

    Raises:
        InputError: the folder does not exist, or is not where the external data lies; or there is something that must
            not be written over.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder; make it first, or choose another place for the {what} model.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the file to write.")
    if source.path is not None:
        if path.resolve() == source.path.resolve():
            raise InputError(f"{path} is the original model, which is never overwritten; choose another name.")
        protect((source.path, *source.data_files), "is part of the original model")
        protect(sidecars(source.path), "belongs to the model beside it")
    if has_external_data(source.proto) and (
        source.path is None or path.parent.resolve() != source.path.parent.resolve()
    ):
        where = source.path.parent if source.path is not None else Path("FOLDER_OF_THE_WEIGHTS")
        kept = source.data_files[0].name if source.data_files else "a file"
        raise InputError(
            f"{source.name}: its weights are in {kept} beside it, which the {what} model shares: it would not "
            f"run from {path.parent}. Write it beside them (-o {where / path.name}), and copy both to where they are "
            "needed."
        )
    require_replaceable(path)


def save_model(rewrite: Rewrite, path: Path) -> Rewrite:
    """Write a rewritten model, whole or not at all.

    Args:
        rewrite: what to write.
        path: where to; see `require_place`.

    Raises:
        InputError: the place will not do, or cannot be written.
        ModelError: the rewritten model would exceed the 2 GiB of a protobuf file.
    """
    save_proto(rewrite.source, rewrite.model, path)
    return replace(rewrite, output_path=path)


def save_proto(source: LoadedModel, proto: onnx.ModelProto, path: Path, what: str = "rewritten") -> None:
    """Write what was made of a model, whole or not at all.

    Args:
        source: the vendor's model.
        proto: what to write.
        path: where to; see `require_place`.
        what: was done to the model, for messages.

    Raises:
        InputError, ModelError: as `save_model`.
    """
    with watched_reads():
        require_place(source, path, what)
        write_whole(path, serialize(proto, f"the {what} model"))
