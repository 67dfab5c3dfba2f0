"""Tokens that lie in another order from one attention to the next, and heads that join the token with a mean."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.lift.tokens.modes import ClassTokenMode
from onnx_gapmil.rewriting.analysis import analyse
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.lift.test_class_tokens import answers, images, run
from tests.references.class_token_spellings import joined
from tests.references.class_token_vit import Vit

#: Patches of 6 x 6 that lie on no rows and columns.
SCATTERED = [0, 3, 5, 7, 12, 18, 22, 30, 35]


def _constant(model: onnx.ModelProto, name: str, values: object) -> str:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    return name


def _before(model: onnx.ModelProto, node: onnx.NodeProto, *new: onnx.NodeProto) -> None:
    place = list(model.graph.node).index(node)
    for offset, each in enumerate(new):
        model.graph.node.insert(place + offset, each)


def scattered(again: list[int] | None) -> onnx.ModelProto:
    """Nine of 36 patches, laid out as if they were a map of 3 x 3, and before the second block put in another order."""
    vit = Vit(rows=6, columns=6)
    model = vit.model()
    join = next(node for node in model.graph.node if node.op_type == "Concat" and node.attribute[0].i == 1)
    _before(
        model,
        join,
        onnx.helper.make_node("Gather", [join.input[1], _constant(model, "kept", SCATTERED)], ["some"], axis=1),
        onnx.helper.make_node("Reshape", ["some", _constant(model, "map", [0, 3, 3, vit.width])], ["laid"]),
        onnx.helper.make_node("Reshape", ["laid", _constant(model, "row", [0, 9, vit.width])], ["fewer"]),
    )
    join.input[1] = "fewer"
    for tensor in model.graph.initializer:
        if tensor.name == "position":
            tensor.CopyFrom(onnx.numpy_helper.from_array(vit.weights["position"][:, :10].copy(), "position"))
    if again is not None:
        block = next(
            node for node in model.graph.node if node.op_type == "LayerNormalization" and "gain_a1" in node.input
        )
        source, picks = block.input[0], _constant(model, "again", [0, *(1 + place for place in again)])
        _before(model, block, onnx.helper.make_node("Gather", [source, picks], ["turned"], axis=1))
        for node in list(model.graph.node)[list(model.graph.node).index(block) :]:
            node.input[:] = ["turned" if name == source else name for name in node.input]
    return model


@pytest.mark.parametrize("mode", ["direct", "through"])
def test_what_tokens_without_places_bring_is_not_added_up_in_two_orders(mode: ClassTokenMode) -> None:
    """The sum over cells is the logits in any order, so that no proof sees cells of different patches joined."""
    same = analyse(scattered(list(range(9))), class_token=mode).search
    assert [head.lifted.size for head in same.heads] == [(3, 3)]
    search = analyse(scattered([3, 1, 2, 0, 4, 5, 8, 7, 6]), class_token=mode).search
    assert not search.heads
    (refusal,) = search.refusals.values()
    assert refusal.code == "different-views"
    assert "its tokens are in another order, or others" in refusal.message


def test_one_head_with_as_many_channels_as_patches_is_no_map_of_one_row() -> None:
    for mode in ("direct", "through"):
        got, expected = answers(Vit(rows=2, columns=4, heads=1), mode)
        for mine, theirs in zip(got, expected, strict=True):
            assert mine.shape == theirs.shape
            assert np.abs(mine - theirs).max() <= 3e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("mode", ["direct", "through"])
def test_a_token_side_by_side_with_the_mean_of_the_patches(mode: ClassTokenMode) -> None:
    """DINOv2's head, for several images: Concat broadcasts nothing, so that what has no place is there for each."""
    vit = Vit(pools=True, registers=1)
    model, data = joined(vit), images(vit)
    head = (found := rewrite_model(model, class_token=mode)).heads[0]
    assert head.grid is not None
    assert head.placeless is not None
    made = run(found, data, head.logits, head.grid, head.placeless)
    for mine, theirs in zip(made, vit.run(data, mode), strict=True):
        assert np.abs(mine - theirs).max() <= 3e-5 * np.abs(theirs).max()


def _averaged(one: Vit, two: Vit) -> onnx.ModelProto:
    """Two networks on the same photo, their logits added up."""
    first, second = one.model(), onnx.compose.add_prefix(two.model(), "two/", rename_inputs=False)
    graph = first.graph
    graph.node.extend(second.graph.node)
    graph.initializer.extend(second.graph.initializer)
    for node in graph.node:
        node.output[:] = ["one/y" if name == "y" else name for name in node.output]
    graph.node.append(onnx.helper.make_node("Add", ["one/y", "two/y"], ["y"], name="both"))
    return first


@pytest.mark.parametrize("mode", ["direct", "through"])
def test_patches_of_two_sizes_are_refused_where_what_they_bring_is_joined(mode: ClassTokenMode) -> None:
    """CrossViT's branches; with patches of one size both are joined cell by cell."""
    search = analyse(_averaged(Vit(), Vit(rows=4, columns=6, patch=2)), class_token=mode).search
    (refusal,) = search.refusals.values()
    assert not search.heads
    assert refusal.code == "different-grids"
    said = "it joins what grids of 2x3 and 4x6 patches bring, and no grid of cells holds both without dividing patches"
    assert refusal.message == f"both (Add): {said}"

    vits = Vit(), Vit(layers=1, heads=1)
    found, data = rewrite_model(_averaged(*vits), class_token=mode), images(vits[0])
    head = found.heads[0]
    assert head.grid is not None
    expected = sum(vit.run(data, mode)[1] for vit in vits)
    (grid,) = run(found, data, head.grid)
    assert np.abs(grid - expected).max() <= 3e-5 * np.abs(expected).max()
