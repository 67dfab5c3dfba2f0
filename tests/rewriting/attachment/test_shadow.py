"""int8 activations that nobody else may read: the logits by their name, and a shadow of what makes the map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.ort.deployed import PRECISE
from onnx_gapmil.rewriting.rewriter import claimed_heads, rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.deployed import MODES, assert_same_as_deployed, deployed, made_of, quantized
from tests.helpers.support import rng

SOFTMAX = "y = Softmax(l)"


def grid_of(model: onnx.ModelProto, level: str, *, mode: str = "") -> np.ndarray:
    feeds = {"x": rng(3).standard_normal((2, 3, 8, 8)).astype(np.float32)}
    return deployed(model, level, mode=mode).run(["gapmil_grid"], feeds)[0]


@pytest.mark.parametrize("tail", ["", SOFTMAX])
@pytest.mark.parametrize("residual", [False, True])
def test_a_shadow_leaves_the_vendors_graph_what_it_was(tail: str, residual: bool, tmp_path: Path) -> None:
    model = quantized(np.int8, tail=tail, residual=residual)
    assert_same_as_deployed(model, rewrite_model(model, attachment="shadow").model, tmp_path)


def test_without_a_shadow_the_runtime_makes_another_graph_of_it(tmp_path: Path) -> None:
    model = quantized(np.int8)
    for rung in ("plain", "named"):
        with pytest.raises(AssertionError):
            assert_same_as_deployed(model, rewrite_model(model, attachment=rung).model, tmp_path)


def test_a_shadow_gives_the_grid_of_the_vendors_own_map() -> None:
    model = quantized(np.int8)
    shadowed, plain = (rewrite_model(model, attachment=rung).model for rung in ("shadow", "plain"))
    np.testing.assert_allclose(grid_of(shadowed, "none"), grid_of(plain, "none"), atol=1e-5)
    # Fused by the same kernels as the vendor's own, where these saturate on no processor.
    exact = grid_of(plain, "none")
    assert np.abs(grid_of(shadowed, "all", mode=next(iter(PRECISE))) - exact).max() < 0.05 * np.abs(exact).max()


def test_a_shadow_begins_at_what_several_operators_read_already() -> None:
    whole, part = (quantized(np.int8, residual=residual) for residual in (False, True))

    def repeated(model: onnx.ModelProto) -> int:
        made = rewrite_model(model, attachment="shadow").model
        return sum(node.op_type == "Conv" for node in made.graph.node[len(model.graph.node) :])

    # The grid's own layer is one; of the two convolutions of the trunk the first stands before the anchor.
    assert repeated(whole) == 3
    assert repeated(part) == 2


def test_a_shadow_shares_the_weights_and_loads_in_every_mode() -> None:
    model = quantized(np.int8, size=16)
    made = rewrite_model(model, attachment="shadow").model
    new = made.graph.initializer[len(model.graph.initializer) :]
    assert max(np.prod(tensor.dims) for tensor in new) <= 16
    for mode in MODES:
        deployed(made, mode=mode)


def test_logits_that_are_an_output_keep_its_name() -> None:
    made = rewrite_model(quantized(np.int8), attachment="shadow")
    assert made.heads[0].logits == "y"
    assert made.heads[0].new_outputs == ("gapmil_grid", "gapmil_features")
    behind = rewrite_model(quantized(np.int8, tail=SOFTMAX), attachment="shadow")
    assert behind.heads[0].logits == "gapmil_logits"


def test_uint8_activations_need_no_shadow(tmp_path: Path) -> None:
    model = quantized(np.uint8)
    plain, shadowed = (rewrite_model(model, attachment=rung).model for rung in ("plain", "shadow"))
    assert_same_as_deployed(model, plain, tmp_path)
    assert made_of(plain, ["gapmil_grid"], tmp_path) == made_of(shadowed, ["gapmil_grid"], tmp_path)


def test_the_ladder_climbs_and_the_file_says_how_far(tmp_path: Path) -> None:
    onnx.save(quantized(np.int8), tmp_path / "m.onnx")
    made = rewrite(tmp_path / "m.onnx")
    assert made.heads[0].attachment == "shadow"
    assert made.output_path is not None
    (head,) = claimed_heads(load_model(made.output_path))  # which lifts it anew in the same way
    assert (head.attachment, head.logits) == ("shadow", "y")
    assert made.heads[0].as_deployed is not None
    assert made.heads[0].as_deployed["passed"] is True
    assert head.as_deployed is None  # measured by another run, which a record cannot show
    off = rewrite(tmp_path / "m.onnx", as_deployed=False, write=False)
    assert off.heads[0].attachment == "plain"
    assert off.heads[0].as_deployed == {
        "passed": None, "measure": None, "allowed": None, "skipped": "it was not asked for",
    }  # fmt: skip
