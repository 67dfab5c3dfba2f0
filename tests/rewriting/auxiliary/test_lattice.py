"""A coarse map read at finer places: the node against the definition by a loop, at every offset and ratio."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.images.places import AxisPlaces
from onnx_gapmil.rewriting.auxiliary.lattice import Finer, add_finer

RNG = np.random.default_rng(1)


def by_loop(values: np.ndarray, coarse: AxisPlaces, fine: AxisPlaces, finer: int) -> np.ndarray:
    """Each finer cell on the line between the two coarse cells beside it, in pixels; the outermost go on."""
    pixels = [coarse.first + place * coarse.step for place in range(len(values))]
    return np.array([np.interp(fine.first + place * fine.step, pixels, values) for place in range(finer)])


AXES = {
    "divided evenly": (AxisPlaces(4.0, 8.0), 5, AxisPlaces(2.0, 4.0), 10),
    "off to the left": (AxisPlaces(0.9, 8.0), 5, AxisPlaces(3.7, 4.0), 9),
    "off to the right": (AxisPlaces(6.5, 8.0), 5, AxisPlaces(-1.2, 4.0), 11),
    "four times": (AxisPlaces(16.0, 32.0), 3, AxisPlaces(5.0, 8.0), 13),
    "the same step, moved": (AxisPlaces(4.0, 8.0), 5, AxisPlaces(6.5, 8.0), 5),
    "one cell": (AxisPlaces(4.0, 8.0), 1, AxisPlaces(2.0, 4.0), 2),
}


@pytest.mark.parametrize("name", AXES)
def test_a_line_of_cells(name: str) -> None:
    coarse, cells, fine, finer = AXES[name]
    axis, values = Finer.of(coarse, cells, fine, finer), RNG.normal(size=cells)
    np.testing.assert_allclose(axis.read(values, 0), by_loop(values, coarse, fine, finer), atol=1e-12)


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("opset", [7, 10, 11, 13, 18])
@pytest.mark.parametrize("rows", AXES)
def test_the_node_gives_it(rows: str, opset: int, opened: bool) -> None:
    down, across = (Finer.of(*AXES[name]) for name in (rows, "off to the left"))
    shape = (2, 3, down.cells, across.cells)
    given = helper.make_tensor_value_info("m", onnx.TensorProto.FLOAT, shape)
    graph = helper.make_graph([helper.make_node("Identity", ["m"], ["same"])], "g", [given], [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    build = GraphBuilder(ModelGraph(model, None))
    if opened and opset < 9:
        with pytest.raises(InputError, match="needs operator set 9, and the model has 7"):
            add_finer(build, "m", 3, down, across, open_size=True)
        return
    output = add_finer(build, "m", 3, down, across, open_size=opened)
    build.append_to(model, [output])
    model.graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    maps = RNG.normal(size=shape).astype(np.float32)
    expected = maps.astype(np.float64)
    for axis, (coarse, _, fine, finer) in ((3, AXES["off to the left"]), (2, AXES[rows])):
        expected = np.apply_along_axis(by_loop, axis, expected, coarse, fine, finer)
    found = session_run(model, maps)
    assert found.shape == (2, 3, down.finer, across.finer)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def session_run(model: onnx.ModelProto, maps: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"m": maps})[0])


def test_the_same_lattice_is_the_map_itself() -> None:
    axis = Finer.of(AxisPlaces(2.0, 4.0), 6, AxisPlaces(2.0, 4.0), 6)
    assert axis.same
    assert not Finer.of(AxisPlaces(2.0, 4.0), 6, AxisPlaces(3.0, 4.0), 6).same


@pytest.mark.parametrize(("first", "reaches"), [(-3.9, True), (-4.1, False), (9.9, True), (12.1, False)])
def test_cells_a_whole_cell_beyond_are_none_of_it(first: float, reaches: bool) -> None:
    """Five cells from 4 on, ten finer ones: they may begin above -4, and must end below 44."""
    assert Finer.of(AxisPlaces(4.0, 8.0), 5, AxisPlaces(first, 4.0), 9).reaches is reaches
