"""Read an untrusted ``.onnx`` file: every bound is checked before memory is taken."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, TypeAlias

import onnx
from google.protobuf.message import DecodeError, EncodeError

from onnx_gapmil.errors import ModelError
from onnx_gapmil.files.guarding import protect
from onnx_gapmil.files.memory import available_memory
from onnx_gapmil.files.mirroring import fetch_beside, local_path, protect_beside
from onnx_gapmil.files.reading import read_bytes
from onnx_gapmil.files.sidecars import sidecars, stating_files
from onnx_gapmil.files.urls import said
from onnx_gapmil.graph.counting import require_walkable
from onnx_gapmil.graph.ordering import is_in_order, put_in_order
from onnx_gapmil.graph.sparse import attribute_tensors, check_sparse
from onnx_gapmil.graph.subgraphs import bodies
from onnx_gapmil.graph.tensors import check_tensor, is_external, tensor_array, tensor_bytes
from onnx_gapmil.graph.validation import validate_structure
from onnx_gapmil.ort.limits import COPIES, limited

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

#: Key of `metadata_props` that a rewritten model has and a vendor's has not: the record of its heads.
HEADS_KEY = "gapmil.heads"
#: Key of `metadata_props` that holds what a repooled file says of its pools.
POOL_KEY = "gapmil.pool"
#: Protobuf cannot hold a larger message; larger models keep their weights in external data.
MAX_PROTO_BYTES = 2**31 - 1
#: From this size on the memory that a file will take is compared with what is free.
_LARGE_FILE = 500_000_000


@dataclass(frozen=True)
class LoadedModel:
    """A model as its vendor wrote it.

    Attributes:
        proto: the vendor's ModelProto, its nodes in order; external data is referenced, not loaded.
        path: where it was read from; None for a model that exists only in memory.
        sha256: of the ``.onnx`` file's bytes (of the serialized proto where there is no file).
        size: bytes of the ``.onnx`` file and of all external data that it references.
        data_files: the files of that external data.
    """

    proto: onnx.ModelProto
    path: Path | None
    sha256: str
    size: int
    data_files: tuple[Path, ...] = ()

    @property
    def folder(self) -> Path | None:
        """The folder that external data is relative to."""
        return self.path.parent if self.path is not None else None

    @property
    def name(self) -> str:
        """The model's name for people: its path, or its graph's name."""
        return said(self.path) if self.path is not None else (self.proto.graph.name or "model")

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The model's `metadata_props`; of a key that occurs twice, the last value."""
        return {entry.key: entry.value for entry in self.proto.metadata_props}

    @property
    def is_rewritten(self) -> bool:
        """Whether it carries the record of a rewrite."""
        return HEADS_KEY in self.metadata

    def session_source(self) -> tuple[bytes, Path | None]:
        """What ONNX Runtime is given: the model's bytes, and the folder of its external data if it has any.

        The checked graph goes in, not the file, which may have changed since. Large external data stays in its files,
        which ONNX Runtime maps.

        Raises:
            ModelError: the model keeps weights in other files, and it is not known where they lie.
        """
        if not has_external_data(self.proto):
            return self.proto.SerializeToString(), None
        self.require_weights()
        light = onnx.ModelProto()
        light.CopyFrom(self.proto)
        folder = self.folder if self.folder is not None else Path()
        load_small_external_data(light, folder)
        return light.SerializeToString(), folder.resolve()

    def require_weights(self) -> None:
        """Make sure that it is known where the weights lie.

        Raises:
            ModelError: the model keeps them in other files, and was given without its path.
        """
        if self.folder is None and has_external_data(self.proto):
            raise ModelError(f"{self.name} keeps weights in other files; give its path instead of a ModelProto.")


#: What every function that works on a model takes: a path, a model in memory, or one that was read already.
ModelSource: TypeAlias = str | Path | onnx.ModelProto | LoadedModel


def load_model(model: ModelSource) -> LoadedModel:
    """Read a model from a path, or take one that is in memory; one that was read already is given back.

    Args:
        model: path or URL of an ``.onnx`` file, a ModelProto (which is not copied and not changed), or a `LoadedModel`.

    Raises:
        ModelError: missing, empty, truncated or garbage file; a Git LFS pointer; a graph that is cyclic or
            names tensors that nothing makes; external data that is missing, too short or lies elsewhere
            than beside the model.
    """
    if isinstance(model, LoadedModel):
        return model
    if not isinstance(model, onnx.ModelProto):
        model = local_path(model)
    with limited_for(model):
        return _loaded(model)


def limited_for(model: ModelSource) -> AbstractContextManager[None]:
    """`onnx_gapmil.ort.limits.limited`, with the memory that a model of this size takes."""
    if isinstance(model, LoadedModel):
        path = model.path
    elif isinstance(model, onnx.ModelProto):
        path = None
    else:
        path = Path(model)
    try:
        return limited(path.stat().st_size if path is not None else 0)
    except (OSError, ValueError):  # reading it says what is wrong
        return limited()


def _loaded(model: str | Path | onnx.ModelProto) -> LoadedModel:
    if isinstance(model, onnx.ModelProto):
        data = serialize(model, model.graph.name or "the model")
        loaded = LoadedModel(model, None, hashlib.sha256(data).hexdigest(), len(data))
        _check(loaded)
        if not is_in_order(model.graph):
            proto = onnx.ModelProto()
            proto.CopyFrom(model)
            put_in_order(proto.graph)
            loaded = replace(loaded, proto=proto)
        return loaded
    path = Path(model)
    fetch_beside(path, stating_files(path))
    data = read_bytes(
        path, ModelError, expected="an ONNX model", limit=MAX_PROTO_BYTES, inspect=partial(_inspect, path)
    )
    proto = _parse(path, data)
    sha256, size = hashlib.sha256(data).hexdigest(), len(data)
    del data
    loaded = LoadedModel(proto, path, sha256, size)
    _check(loaded)
    if not is_in_order(proto.graph):
        put_in_order(proto.graph)
    files = _external_files(proto, path)
    protect((path, *files), "is part of the model")
    protect(sidecars(path), "belongs to the model beside it")
    protect_beside(path, (path, *files, *sidecars(path)))
    return replace(loaded, size=size + sum(files.values()), data_files=tuple(files))


def serialize(proto: onnx.ModelProto, name: str) -> bytes:
    """A model's bytes, refused before memory is taken where they would exceed what a protobuf can hold.

    Raises:
        ModelError: naming the model and the limit.
    """
    inside = weight_bytes(proto, external=False)
    message = (
        f"{name} holds {inside:,} bytes of weights, more than the 2 GiB of a protobuf file; save it with its weights "
        "as external data."
    )
    if inside > MAX_PROTO_BYTES:
        raise ModelError(message)
    try:
        return bytes(proto.SerializeToString())
    except (EncodeError, ValueError) as error:
        raise ModelError(message) from error


def all_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every TensorProto of a graph: initializers, attribute tensors, and those of its subgraphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _node_tensors(graph.node)


def _sparse_tensors(graph: onnx.GraphProto) -> Iterator[onnx.SparseTensorProto]:
    """Every SparseTensorProto of a graph: initializers, constants, and those of its subgraphs."""
    yield from graph.sparse_initializer
    for node in graph.node:
        yield from attribute_tensors(node)
        for body in bodies(node):
            yield from _sparse_tensors(body)


def model_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every TensorProto of a model: those of its graph, its local functions and its training graphs."""
    yield from all_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)
    for training in proto.training_info:
        yield from all_tensors(training.initialization)
        yield from all_tensors(training.algorithm)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for sparse in attribute_tensors(node):
            yield sparse.values
            yield sparse.indices
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from all_tensors(attribute.g)
            for subgraph in attribute.graphs:
                yield from all_tensors(subgraph)


def weight_bytes(proto: onnx.ModelProto, *, external: bool = True) -> int:
    """How many bytes a model's tensors take, by their declared shapes.

    Args:
        proto: the model.
        external: count those that lie in other files too.
    """
    return sum(tensor_bytes(tensor) for tensor in model_tensors(proto) if external or not is_external(tensor))


def has_external_data(proto: onnx.ModelProto) -> bool:
    """Whether any tensor's values lie in another file."""
    return any(is_external(tensor) for tensor in model_tensors(proto))


def load_small_external_data(proto: onnx.ModelProto, folder: Path | None, limit: int = 4096) -> None:
    """Bring small external tensors into the proto, in place.

    ONNX Runtime wants axes and reshape targets at hand when it loads a model from memory; the large weights stay
    where they are and are mapped from their file.

    Args:
        proto: a copy of the model, which is changed.
        folder: where the external data lies; nothing is done without one.
        limit: tensors above this many bytes stay external.
    """
    if folder is None:
        return
    for tensor in all_tensors(proto.graph):
        if not is_external(tensor):
            continue
        if tensor_bytes(tensor) <= limit:
            array = tensor_array(tensor, folder)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def _inspect(path: Path, size: int) -> None:
    """Refuse a file of a size that no readable model has, or that the machine cannot hold."""
    if size == 0:
        raise ModelError(f"{path} is empty (0 bytes); export or download it again.")
    if size > MAX_PROTO_BYTES:
        raise ModelError(
            f"{path} has {size:,} bytes, more than the 2 GiB that a protobuf file can hold, so it is no "
            "readable ONNX model; export it with its weights as external data."
        )
    _require_memory(path, size)


def _require_memory(path: Path, size: int) -> None:
    """Refuse a large file whose weights are inside it, where the machine has too little memory, before any is taken."""
    free = available_memory() if size > _LARGE_FILE else None
    if free is not None and size * COPIES > free:
        raise ModelError(
            f"{path} holds its {size / 1e9:.1f} GB inside the file: working on it takes about "
            f"{size * COPIES / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; export it with external data, "
            "which is not loaded."
        )


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{path} is not a readable ONNX model ({len(data):,} bytes, no valid protobuf): it is truncated or "
            "another kind of file; export or download it again."
        ) from error
    if not proto.HasField("graph") or not proto.graph.node:
        raise ModelError(
            f"{path} parses as a protobuf but holds no ONNX graph: it is truncated or another kind of file; "
            "export or download it again."
        )
    return proto


def _check(loaded: LoadedModel) -> None:
    if not loaded.proto.opset_import:
        raise ModelError(f"{loaded.name} imports no operator set, so its operators have no meaning; export it again.")
    require_walkable(loaded.proto, loaded.name)
    validate_structure(loaded.proto, loaded.name)
    for tensor in model_tensors(loaded.proto):
        check_tensor(tensor, loaded.name)
    for sparse in _sparse_tensors(loaded.proto.graph):
        check_sparse(sparse, loaded.name)


def _external_files(proto: onnx.ModelProto, path: Path) -> dict[Path, int]:
    """The files of external data with their sizes, checked to hold every tensor that is said to lie in them."""
    files: dict[Path, int] = {}
    asked: set[str] = set()
    for tensor in model_tensors(proto):
        if not is_external(tensor):
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        _require_inside(path, location, tensor.name)
        if location not in asked:
            asked.add(location)
            fetch_beside(path, [location])
        file = _resolve_beside(path, location, tensor.name)
        if file not in files:
            files[file] = file.stat().st_size
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
        except ValueError as error:
            raise ModelError(
                f"{path}: the external data of '{tensor.name}' has no readable offset or length."
            ) from error
        if offset < 0 or length < 0 or offset + length > files[file]:
            raise ModelError(
                f"{path}: tensor '{tensor.name}' should lie at bytes {offset:,} to {offset + length:,} of "
                f"'{location}', which has only {files[file]:,}; the data file is truncated or another model's."
            )
        room, need = length or files[file] - offset, tensor_bytes(tensor)
        if length and length != need:
            raise ModelError(
                f"{path}: tensor '{tensor.name}' of shape {list(tensor.dims)} takes {need:,} bytes, and {length:,} are "
                f"given for it in '{location}'; the file is damaged."
            )
        if room < need:
            raise ModelError(
                f"{path}: tensor '{tensor.name}' of shape {list(tensor.dims)} takes {need:,} bytes, but "
                f"'{location}' has {room:,} for it; the data file is truncated or another model's."
            )
    return files


def _require_inside(path: Path, location: str, tensor: str) -> None:
    parts = PurePosixPath(location).parts + PureWindowsPath(location).parts
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).is_absolute()
    if not location or absolute or ".." in parts:
        raise ModelError(
            f"{path}: tensor '{tensor}' keeps its data in '{location}', outside the model's folder; that is refused, "
            "since a model file must not choose which files are read. Place the data beside the model."
        )


def _resolve_beside(path: Path, location: str, tensor: str) -> Path:
    file = path.parent / location
    if not file.is_file():
        raise ModelError(f"{path} keeps its weights in '{location}', which is no file beside it; put that file there.")
    folder = path.parent.resolve()
    if not file.resolve().is_relative_to(folder):
        raise ModelError(f"{path}: its data file '{location}' is a link that leads out of the model's folder; refused.")
    return file
