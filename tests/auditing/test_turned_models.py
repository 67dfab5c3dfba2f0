"""A model whose map is mirrored, transposed, rearranged or cropped is audited as its plain twin: the same figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_gapmil.auditing import Request, audit
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.rewriting import in_memory
from tests.helpers import scene_data as scenes

#: What is measured where, and all that depends on it; images' own figures are among them.
PLACED = ["pointing_game", "maxboxacc_v2", "localization", "pxap", "foreground", "background", "background_reliance"]
FIGURES = [*PLACED, "edges", "recoverable", "error_causes", "several_objects", "top1", "top5"]


def rewired(folder: Path, nodes: list[onnx.NodeProto], constants: Mapping[str, Any], *, at: str = "map") -> Path:
    """The sample model with nodes from ``before`` to ``after`` put before its pool, or behind its image."""
    model = onnx.load(scenes.MODEL)
    graph = model.graph
    place = next(number for number, node in enumerate(graph.node) if node.op_type == "GlobalAveragePool")
    place = place if at == "map" else 0
    reader = graph.node[place]
    for node in nodes:
        node.input[:] = [reader.input[0] if name == "before" else name for name in node.input]
    reader.input[0] = "after"
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*kept[:place], *nodes, *kept[place:]])
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    path = folder / "turned.onnx"
    onnx.save(model, path)
    return path


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def sliced(first: int, last: int, step: int, axis: int) -> dict[str, list[int]]:
    return {"first": [first], "last": [last], "axis": [axis], "step": [step]}


TURNED: dict[str, tuple[list[onnx.NodeProto], Mapping[str, Any]]] = {
    "rows mirrored": ([node("Slice", "before first last axis step", "after")], sliced(-1, -99, -1, 2)),
    "columns mirrored": (
        [node("Gather", "before order", "after", axis=3)],
        {"order": np.arange(12)[::-1].copy()},
    ),
    "transposed": ([node("Transpose", "before", "after", perm=[0, 1, 3, 2])], {}),
    "turned by 90 degrees": (
        [
            node("Transpose", "before", "swapped", perm=[0, 1, 3, 2]),
            node("Slice", "swapped first last axis step", "after"),
        ],
        sliced(-1, -99, -1, 2),
    ),
    "padded and cropped back": (
        [
            node("Pad", "before pads", "padded", mode="edge"),
            node("Slice", "padded first last axes", "cropped"),
            node("Relu", "cropped", "after"),  # without it the pool is one of weights, 0 for what is cropped
        ],
        {"pads": [0, 0, 2, 1, 0, 0, 1, 3], "first": [2, 1], "last": [14, 13], "axes": [2, 3]},
    ),
    "windows of 4 x 4, not put back": (
        [
            node("Reshape", "before split", "parts"),
            node("Transpose", "parts", "moved", perm=[0, 1, 2, 4, 3, 5]),
            node("Reshape", "moved joined", "after"),
        ],
        {"split": [0, 0, 3, 4, 3, 4], "joined": [0, 0, 12, 12]},
    ),
    "rolled by a third": (
        [
            node("Slice", "before four end axis", "late"),
            node("Slice", "before none four axis", "early"),
            node("Concat", "late early", "after", axis=3),
        ],
        {"none": [0], "four": [4], "end": [99], "axis": [3]},
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.write_scenes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, Any]:
    return audited(tmp_path_factory.mktemp("plain"), scenes.MODEL, data)


def audited(folder: Path, model: Path, data: Path, **changed: Any) -> dict[str, Any]:
    """The figures by their names, without what is said of the model."""
    recipe = folder / "preprocess.json"
    known = json.loads(scenes.MODEL.with_suffix(".preprocess.json").read_text("utf-8"))
    recipe.write_text(json.dumps({**known, **changed}), "utf-8")
    names = scenes.MODEL.with_suffix(".labels.txt")
    request = Request(model=model, data=data, preprocess=str(recipe), names=names)
    found = audit(request, folder / "out").to_json()
    return {name: found[name] for name in FIGURES}


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """All numbers of a tree, by their way down."""
    if isinstance(value, Mapping):
        return {key: found for part in value for key, found in flat(value[part], f"{name}.{part}").items()}
    if isinstance(value, list):
        return {
            key: found for number, part in enumerate(value) for key, found in flat(part, f"{name}.{number}").items()
        }
    return {name: value}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    one, two = flat(found), flat(expected)
    assert one.keys() == two.keys()
    assert one == pytest.approx(two, abs=2e-5)


@pytest.mark.parametrize("how", TURNED)
def test_a_turned_map_is_measured_as_its_plain_twin(
    tmp_path: Path, data: Path, plain: dict[str, Any], how: str
) -> None:
    nodes, constants = TURNED[how]
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    assert all(plain[name] is not None for name in ("pointing_game", "maxboxacc_v2", "foreground"))
    assert_same(audited(tmp_path, rewired(tmp_path, copies, constants), data), plain)


def test_a_crop_in_the_graph_is_measured_as_the_same_crop_before_it(tmp_path: Path, data: Path) -> None:
    """The middle 80 x 80 of 96 x 96 pixels, cut out by the graph or by the preprocessing."""
    constants = {"first": [8, 8], "last": [88, 88], "axes": [2, 3]}
    inside = rewired(tmp_path, [node("Slice", "before first last axes", "after")], constants, at="image")
    smaller = onnx.load(scenes.MODEL)
    for dim in smaller.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 80
    del smaller.graph.value_info[:]
    onnx.save(smaller, tmp_path / "smaller.onnx")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    found = audited(tmp_path / "one", inside, data)
    twin = audited(tmp_path / "two", tmp_path / "smaller.onnx", data, size=[80, 80], crop=80 / 96)
    assert_same(found, twin)


def test_wrong_places_would_be_measured_otherwise(
    tmp_path: Path, data: Path, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same grids half an image away give other figures, so that the twins above say something."""
    away = Places(True, "image", AxisPlaces(52.0, 8.0), AxisPlaces(4.0, 8.0))
    real = in_memory._proved

    def blind(*given: Any) -> Any:
        proof, places = real(*given)
        return proof, dict.fromkeys(places, away)

    monkeypatch.setattr(in_memory, "_proved", blind)
    monkeypatch.setattr(in_memory, "recall", lambda *_: None)
    monkeypatch.setattr(in_memory, "remember", lambda *_: None)
    found = audited(tmp_path, scenes.MODEL, data)
    assert found["pointing_game"] < plain["pointing_game"] - 0.2
