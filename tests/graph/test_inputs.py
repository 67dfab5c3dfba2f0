"""Inputs: what a file declares, and the shapes and values that are made up where it leaves them open."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.inputs import OPEN_SIZES, InputShape, candidate_inputs, concrete_inputs, random_input
from onnx_gapmil.graph.view import ModelGraph
from tests.helpers.support import text_model


def graph_of(declared: str, *, kind: str = "float", first: str = "ReduceMean<axes=[1, 2, 3]>(x)") -> ModelGraph:
    return ModelGraph(text_model(f"y = {first}", x=f"{kind}[{declared}] x", y=f"{kind}[N,1,1,1] y"))


def test_a_closed_input_has_one_candidate() -> None:
    assert [entry.traced for (entry,) in candidate_inputs(graph_of("1,3,8,9"))] == [(1, 3, 8, 9)]


def test_an_open_batch_is_tried_with_two_and_with_one() -> None:
    assert [entry.traced[0] for (entry,) in candidate_inputs(graph_of("N,3,8,9"))] == [2, 1]


def test_open_sizes_are_tried_in_turn_with_both_batches_each() -> None:
    found = [entry.traced for (entry,) in candidate_inputs(graph_of("N,3,H,W"))]
    assert found == [(batch, 3, *size) for size in OPEN_SIZES for batch in (2, 1)]


@pytest.mark.parametrize(
    ("declared", "first", "expected"),
    [
        pytest.param("N,H,W,3", "Identity(x)", (2, 7, 9, 3), id="colours_last"),
        pytest.param("N,3,H,W", "Identity(x)", (2, 3, 7, 9), id="colours_first"),
        pytest.param("N,1,H,W", "Identity(x)", (2, 1, 7, 9), id="grey_first"),
        pytest.param("N,H,W,4", "Identity(x)", (2, 7, 9, 4), id="colours_and_alpha_last"),
        pytest.param("N,A,B,C", "Transpose<perm=[0, 3, 1, 2]>(x)", (2, 7, 9, 3), id="turned_first"),
        pytest.param("N,A,B,C", "Identity(x)", (2, 3, 7, 9), id="nothing_tells"),
        pytest.param("N,A,B", "Identity(x)", (2, 3, 7), id="a_row"),
        pytest.param("N,A,B,C,D", "Identity(x)", (2, 7, 7, 7, 7), id="a_volume"),
        pytest.param("N,3,32,W", "Identity(x)", (2, 3, 32, 9), id="one_axis_open"),
    ],
)
def test_layout_of_an_open_input_follows_what_the_file_says(
    declared: str, first: str, expected: tuple[int, ...]
) -> None:
    (entry,) = concrete_inputs(graph_of(declared, first=first), 2, (7, 9))
    assert entry.traced == expected


@pytest.mark.parametrize(
    ("declared", "batch", "space"),
    [((None, 3, 8, 8), True, False), ((1, 3, "H", 8), False, True), ((1, 3, 8, 8), False, False), ((), False, False)],
)
def test_what_is_open(declared: tuple[int | str | None, ...], batch: bool, space: bool) -> None:
    entry = InputShape("x", declared, (1, 3, 8, 8), np.dtype(np.float32))
    assert (entry.batch_is_open, entry.space_is_open) == (batch, space)


@pytest.mark.parametrize(
    ("declared", "batch", "space"),
    [(("h", "w", 3), False, True), ((3, "h", "w"), False, True), ((64, 64, 3), False, False)],
)
def test_the_first_axis_of_an_image_alone_is_no_batch(
    declared: tuple[int | str | None, ...], batch: bool, space: bool
) -> None:
    entry = InputShape("x", declared, (64, 64, 3), np.dtype(np.float32), alone=True)
    assert (entry.batch_is_open, entry.space_is_open) == (batch, space)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int32", "int64", "bool", "float16", "double", "float"])
def test_random_input_is_of_the_inputs_type(kind: str) -> None:
    entry = next(candidate_inputs(graph_of("N,3,4,4", kind=kind, first="Identity(x)")))[0]
    first, second, other = random_input(entry, 0), random_input(entry, 0), random_input(entry, 1)
    assert first.dtype == entry.dtype
    assert first.shape == (2, 3, 4, 4)
    np.testing.assert_array_equal(first, second)
    if kind != "bool":
        assert (first != other).any()
    if kind == "uint8":
        assert first.max() > 200
    if kind == "int8":
        assert first.min() < -100


def test_random_floats_are_standard_normal() -> None:
    values = random_input(InputShape("x", (100, 100), (100, 100), np.dtype(np.float32)))
    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05


def test_an_input_of_no_numbers_is_refused() -> None:
    with pytest.raises(ModelError, match="'x' is of type complex64"):
        random_input(InputShape("x", (1,), (1,), np.dtype(np.complex64)))


def test_an_input_of_text_is_refused() -> None:
    graph = graph_of("N", kind="string", first="Identity(x)")
    with pytest.raises(ModelError, match="'x' is no numeric tensor"):
        concrete_inputs(graph, 1, (8, 8))


def test_an_input_without_a_rank_is_refused() -> None:
    model = text_model("y = Identity(x)")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match="does not declare its rank"):
        concrete_inputs(ModelGraph(model), 1, (8, 8))


def test_a_model_without_inputs_is_refused() -> None:
    model = text_model("y = Identity(w)", y="float[5,6] y", init={"w": np.ones((5, 6), np.float32)})
    del model.graph.input[:]
    with pytest.raises(ModelError, match="no input"):
        next(candidate_inputs(ModelGraph(model)))
