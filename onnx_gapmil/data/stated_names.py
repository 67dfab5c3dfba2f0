"""Class names that a model's file itself holds: in its metadata, and in the graph behind its scores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.files.literals import parse_literal, parse_names
from onnx_gapmil.graph.tensors import tensor_array

if TYPE_CHECKING:
    import numpy.typing as npt

NAME_KEYS = (
    "names",  # Ultralytics
    "class_names",  # QGIS Deepness, and many scripts
    "classes",
    "class_labels",
    "labels",
    "label_names",
    "id2label",
    "label2id",
    "label_map",
    "class_to_idx",  # torchvision's ImageFolder
    "idx_to_class",
    "character",  # RapidAI: one a line
)
"""Keys of `metadata_props` under which exporters and scripts keep names."""

#: OpenVINO's Model API: names between spaces, whose own spaces are underscores; and JSON.
_MODEL_API = ("labels", "label_info")
#: What stands where nobody gave names: transformers' LABEL_0, Ultralytics' class0.
_PLACEHOLDER = re.compile(r"(?:label|class)[ _]?(\d+)", re.IGNORECASE)
#: Operators that leave texts as they are.
_SAME_TEXTS = frozenset({"Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten"})
#: Casts, reshapes and the like between the best class and what picks its text, at the most.
_LONGEST_WAY = 8
#: Operators that leave each class's score where it is among the others, on another scale or in another shape.
_SAME_CLASSES = frozenset(
    {"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze"}
    | {"Flatten", "Add", "Sub", "Mul", "Div", "Neg", "Exp", "Log", "Clip", "Concat", "QuantizeLinear"}
    | {"DequantizeLinear", "ArgMax", "TopK", "Normalizer"}
)
#: Operators of ai.onnx.ml and of the default domain that pick a text by its place.
_PICKERS = frozenset({"ArrayFeatureExtractor", "Gather", "GatherElements", "GatherND"})


@dataclass(frozen=True, slots=True)
class StatedNames:
    """Names that a file holds.

    Attributes:
        names: in the order of the classes.
        source: where, for people.
        scores: the tensor of scores or of the best class's number that they belong to; "" where the file does not say.
        kin: all tensors that are these scores on another scale, the logits among them; a head's output may be one.
    """

    names: tuple[str, ...]
    source: str
    scores: str = ""
    kin: frozenset[str] = frozenset()


def stated_names(proto: onnx.ModelProto) -> tuple[StatedNames, ...]:
    """All names that a model's file holds, the metadata's first.

    Args:
        proto: the model; nothing in it is changed.
    """
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    found = [entry for entry in (*_in_metadata(metadata), *_in_graph(proto)) if not is_placeholder(entry.names)]
    if not any(entry.scores for entry in found):
        return tuple(found)
    scales = _Scales(proto)
    return tuple(replace(entry, kin=scales.kin(entry.scores)) if entry.scores else entry for entry in found)


def is_placeholder(names: Sequence[str]) -> bool:
    """Whether names are what programs write where they know none: a word and the class's own number."""
    matches = [_PLACEHOLDER.fullmatch(name.strip()) for name in names]
    return all(match is not None and int(match[1]) == index for index, match in enumerate(matches))


def _in_metadata(metadata: Mapping[str, str]) -> Iterator[StatedNames]:
    by_name = {key.casefold(): key for key in metadata}
    for wanted in NAME_KEYS:
        key = by_name.get(wanted)
        names = _names(metadata[key]) if key is not None else None
        if names:
            yield StatedNames(tuple(names), f"the metadata key {key!r}")
    for key, value in metadata.items():
        words = key.split()
        if len(words) != 2 or words[0] != "model_info" or words[1] not in _MODEL_API:
            continue
        names = _names(value) or (value.split() if words[1] == "labels" else None)
        if names:
            yield StatedNames(tuple(names), f"the metadata key {key!r}")


def _names(text: str) -> list[str] | None:
    """Names of JSON, of Python's notation, of lines, or between commas."""
    value = parse_literal(text)
    if isinstance(value, Mapping) and isinstance(value.get("label_names"), list):  # Training Extensions' label_info
        value = value["label_names"]
    names = parse_names(value)
    if names is not None or value is not None:
        return names
    parts = text.splitlines() if "\n" in text.strip() else text.split(",")
    names = [part.strip() for part in parts]
    while names and not names[-1]:
        names.pop()
    return names if len(names) > 1 and "" not in names else None


def _in_graph(proto: onnx.ModelProto) -> Iterator[StatedNames]:
    texts = _Texts(proto)
    for node in proto.graph.node:
        if not node.input:
            continue
        if node.op_type == "ZipMap":
            yield from _of_zipmap(node)
        elif node.op_type == "LabelEncoder":
            yield from _of_encoder(node)
        elif node.op_type in _PICKERS and len(node.input) > 1 and node.input[1]:
            names, scores = texts.of(node.input[0]), texts.scores(node.input[1])
            if names is not None and scores is not None:
                yield StatedNames(names, f"the texts that {_said(node)} picks from", scores)


def _of_zipmap(node: onnx.NodeProto) -> Iterator[StatedNames]:
    """Names of the keys of a dictionary; numbers are names where they are not the classes' own places."""
    texts, numbers = _attribute(node, "classlabels_strings"), _attribute(node, "classlabels_int64s")
    names = [text.decode("utf-8", "replace") for text in texts or ()]
    if not names and numbers is not None and list(numbers) != list(range(len(numbers))):
        names = [str(number) for number in numbers]
    if names:
        yield StatedNames(tuple(names), f"the classlabels of {_said(node)}", node.input[0])


def _of_encoder(node: onnx.NodeProto) -> Iterator[StatedNames]:
    """A LabelEncoder from numbers to texts."""
    keys, values = _attribute(node, "keys_int64s"), _attribute(node, "values_strings")
    if keys is None and values is None:
        values = _attribute(node, "classes_strings")
        keys = range(len(values)) if values is not None else None
    if keys is None or values is None:
        return
    by_index = dict(zip((int(key) for key in keys), (text.decode("utf-8", "replace") for text in values), strict=False))
    if len(by_index) > 1 and sorted(by_index) == list(range(len(by_index))):
        names = tuple(by_index[index] for index in range(len(by_index)))
        yield StatedNames(names, f"the values of {_said(node)}", node.input[0])


class _Texts:
    """Constant texts of a graph, and the scores whose best place picks one of them."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._initializers = {
            tensor.name: tensor for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.STRING
        }
        self._makers = {name: node for node in proto.graph.node for name in node.output if name}

    def of(self, name: str) -> tuple[str, ...] | None:
        """The texts of a tensor, in order; None where it is no constant of texts."""
        for _ in range(_LONGEST_WAY):
            maker = self._makers.get(name)
            if maker is None or not maker.input or maker.op_type not in _SAME_TEXTS:
                break
            name = maker.input[0]
        found = self._initializers.get(name)
        maker = self._makers.get(name)
        if found is None and maker is not None and maker.op_type == "Constant":
            found = _attribute(maker, "value")
            if found is None and (strings := _attribute(maker, "value_strings")) is not None:
                return _decoded(np.array(strings, dtype=object))
        if found is None or found.data_type != onnx.TensorProto.STRING:
            return None
        try:
            return _decoded(tensor_array(found))
        except GapmilError:
            return None

    def scores(self, name: str) -> str | None:
        """The tensor whose ArgMax or TopK a number comes from; None where it comes from elsewhere."""
        for _ in range(_LONGEST_WAY):
            maker = self._makers.get(name)
            if maker is None or not maker.input:
                return None
            if maker.op_type in ("ArgMax", "TopK"):
                return str(maker.input[0])
            name = maker.input[0]
        return None


class _Scales:
    """Which tensors of a graph are one another on another scale."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._nodes = proto.graph.node
        self._makers = {name: node for node in self._nodes for name in node.output if name}
        self._constants = {tensor.name for tensor in proto.graph.initializer} | {
            name for node in self._nodes if node.op_type == "Constant" for name in node.output
        }

    def kin(self, name: str) -> frozenset[str]:
        """What a tensor is made of by such operators, and what they make of that."""
        found = {self._root(name, _LONGEST_WAY), name}
        for node in self._nodes:  # they are in the order in which they run
            if node.op_type in _SAME_CLASSES and set(read := self._read(node)) <= found and read:
                found |= set(node.output)
        return frozenset(found - {""})

    def _root(self, name: str, left: int) -> str:
        node = self._makers.get(name)
        if node is None or node.op_type not in _SAME_CLASSES or not left:
            return name
        # 1 - p and p, joined or not, are of one logit; the sum of two heads is of neither.
        roots = {self._root(read, left - 1) for read in self._read(node)}
        return roots.pop() if len(roots) == 1 else name

    def _read(self, node: onnx.NodeProto) -> list[str]:
        return [name for name in node.input if name and name not in self._constants]


def _decoded(texts: npt.NDArray[Any]) -> tuple[str, ...]:
    return tuple(
        text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in texts.ravel().tolist()
    )


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    found = next((entry for entry in node.attribute if entry.name == name), None)
    return onnx.helper.get_attribute_value(found) if found is not None else None


def _said(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name!r}" if node.name else node.op_type
