"""Fitted pools in the graph: the file against plain formulas on the vendor's own cells; read again, and taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_gapmil import inspect, repool, rewrite, verify
from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.graph.loading import HEADS_KEY, POOL_KEY, load_model
from onnx_gapmil.rewriting import repooling
from onnx_gapmil.rewriting.proof.report import ProofError
from onnx_gapmil.rewriting.repooled.layer import layer_of
from onnx_gapmil.rewriting.repooling import head_to_fit
from tests.helpers.support import cell_by_cell, images, run, text_model, weights

K, C, H, W = 5, 6, 3, 5
WEIGHT, OFFSET = weights(K, C), weights(K, seed=1)
#: A fixed size, as positions need; the batch stays open.
FIXED = {"x": "float[N,6,3,5] x"}
GEMM = "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w, b)\n y = Softmax<axis=1>(z)"


def model(opset: int = 17, ir: int = 8) -> onnx.ModelProto:
    return text_model(GEMM, init={"w": WEIGHT, "b": OFFSET}, opset=opset, ir=ir)


def channels_last() -> onnx.ModelProto:
    body = "p = ReduceMean<axes=[1,2], keepdims=0>(x)\n z = MatMul(p, w)\n y = Softmax<axis=1>(z)"
    return text_model(body, x="float[N,3,5,6] x", init={"w": np.ascontiguousarray(WEIGHT.T)})


def arrays(**more: np.ndarray) -> dict[str, Any]:
    return {"scale": np.array([1.5]), "bias": weights(K, seed=3), **more}


LAYER = {"weight": weights(K, C, seed=4), "offset": weights(K, seed=5)}
POOLS = {
    "calibrated": FittedPool("calibrated", (Aggregator("topk", 0.3),), arrays()),
    "mix": FittedPool(
        "mix", (Aggregator("mean"), Aggregator("lse", 2.0), Aggregator("prob_mean")),
        arrays() | {"scale": np.array([0.5, -0.3, 0.8])},
    ),
    "flex": FittedPool("flex", (), arrays(positions=weights(H, W, seed=6))),
    "flex:channel": FittedPool("flex:channel", (), arrays(positions=weights(C, H, W, seed=7), **LAYER)),
    "head": FittedPool("head", (Aggregator("max"),), arrays(**LAYER)),
}  # fmt: skip


def expected(name: str, cells: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(N, K) probabilities, by plain formulas on (N, K, P) cells and (N, C, P) features."""
    held = {key: array.astype(np.float64) for key, array in POOLS[name].arrays.items()}
    a = x.astype(np.float64).reshape(len(x), C, -1)
    if name == "calibrated":
        terms = [np.sort(cells, axis=-1)[..., -5:].mean(axis=-1)]  # 0.3 of 15 cells and a half
    elif name == "mix":
        p = np.exp(cells) / np.exp(cells).sum(axis=1, keepdims=True)
        terms = [cells.mean(axis=-1), np.log(np.exp(2 * cells).mean(axis=-1)) / 2, np.log(p.mean(axis=-1))]
    elif name == "flex":
        terms = [cells @ held["positions"].ravel()]
    elif name == "flex:channel":
        pooled = (a * held["positions"].reshape(C, -1)).sum(axis=-1)
        terms = [pooled @ held["weight"].T + held["offset"]]
    else:
        terms = [(held["weight"] @ a + held["offset"][:, None]).max(axis=-1)]
    z = sum(w * term for w, term in zip(held["scale"], terms, strict=True)) + held["bias"]
    return np.asarray(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))


def bare(found: onnx.ModelProto) -> onnx.ModelProto:
    """Without its softmax."""
    copy = onnx.ModelProto()
    copy.CopyFrom(found)
    del copy.graph.node[-1]
    copy.graph.output[0].name = "z"
    return copy


@pytest.mark.parametrize("opset", [7, 11, 13, 18, 21])
@pytest.mark.parametrize("name", list(POOLS))
def test_the_answer_is_the_formula_on_the_vendors_cells(name: str, opset: int) -> None:
    vendor = model(opset)
    x = images(vendor)
    made = repool(vendor, POOLS[name])
    onnx.checker.check_model(made.model, full_check=True)
    cells = cell_by_cell(bare(vendor), x).astype(np.float64)
    np.testing.assert_allclose(run(made.model, x)[0], expected(name, cells, x), rtol=2e-4, atol=1e-6)
    figure = made.figure("y")
    assert figure is not None
    assert figure.measure is not None
    assert figure.measure < 1e-6


@pytest.mark.parametrize("ir", [3, 8])
@pytest.mark.parametrize("name", list(POOLS))
def test_a_file_is_read_again_and_gives_the_vendors_graph_back(name: str, ir: int) -> None:
    vendor = model(opset=9 if ir == 3 else 17, ir=ir)
    if ir == 3:
        for tensor in vendor.graph.initializer:
            vendor.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, 1, tensor.dims))
    made = repool(vendor, POOLS[name])
    again = repool(made.model, POOLS[name])
    assert again.unchanged
    assert again.heads[0].aggregator == POOLS[name]
    assert repool(made.model, "max").heads[0].aggregator == Aggregator("max")
    back = repool(made.model, "mean").model
    assert back.graph.SerializeToString(deterministic=True) == vendor.graph.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", list(POOLS))
def test_inspect_and_rewrite_say_what_the_file_answers_by(name: str) -> None:
    made = repool(model(), POOLS[name]).model
    found = inspect(made)
    assert [head.aggregator.key for head in found.repooled] == [POOLS[name].key]
    (head,) = rewrite(made).heads
    assert head.pool == POOLS[name].key
    x = images(made)
    first, pooled, mean = run(rewrite(made).model, x, ["y", str(head.pooled), str(head.logits)])
    np.testing.assert_allclose(np.exp(pooled) / np.exp(pooled).sum(axis=1, keepdims=True), first, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mean, run(bare(model()), x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(POOLS))
def test_a_rewritten_file_of_a_fitted_pool_is_read_again(name: str, tmp_path: Path) -> None:
    """Its record named a pool that reading it did not know."""
    pooled, rewritten = tmp_path / "pooled.onnx", tmp_path / "rewritten.onnx"
    onnx.save(repool(model(), POOLS[name]).model, pooled)
    rewrite(pooled, rewritten)
    assert verify(pooled, rewritten).passed
    assert rewrite(rewritten).heads[0].pool == POOLS[name].key
    assert repool(rewritten, "mean").is_vendors
    proto = onnx.load(rewritten)
    entry = next(entry for entry in proto.metadata_props if entry.key == HEADS_KEY)
    entry.value = entry.value.replace(POOLS[name].key, "fitted otherwise")
    with pytest.raises(ProofError):
        rewrite(proto)


def test_without_its_record_a_flexpool_is_a_weighted_pool_that_lifts() -> None:
    made = repool(model(), POOLS["flex"]).model
    del made.metadata_props[:]
    (head,) = inspect(made).heads
    assert head.verdict == "exact"
    (weighted,) = head.pool_weights
    assert weighted.by == "position"
    found = np.array(weighted.map)
    own = POOLS["flex"].arrays["positions"]
    np.testing.assert_allclose(found / found.sum(), own / own.sum(), rtol=1e-5)


@pytest.mark.parametrize(("name", "by", "sets"), [("flex", "position", 1), ("flex:channel", "position and channel", C)])
def test_weights_of_positions_are_said_and_the_grid_is_without_them(name: str, by: str, sets: int) -> None:
    made = repool(model(), POOLS[name]).model
    own = POOLS[name].arrays["positions"].astype(np.float64).reshape(sets, H, W)
    (said,) = inspect(made).to_json()["repooled"][0]["pool_weights"]
    assert (said["pool"], said["by"], said["sets"]) == (f"'y' (fitted {name})", by, sets)
    assert said["in_cells"] is False
    assert (said["least"], said["largest"]) == (own.min() * H * W, own.max() * H * W)
    assert said["below_zero"] == pytest.approx(np.count_nonzero(own < 0) / own.size)
    np.testing.assert_allclose(said["sums"], [own.sum(axis=(1, 2)).min(), own.sum(axis=(1, 2)).max()], rtol=1e-12)
    np.testing.assert_allclose(said["map"], own.mean(axis=0) * H * W, rtol=1e-12)
    (weighted,) = rewrite(made, write=False).heads[0].pool_weights
    assert weighted.to_json() == said
    assert inspect(made).heads[0].pool_weights == ()


@pytest.mark.parametrize("name", ["calibrated", "mix", "head"])
def test_a_pool_that_takes_all_positions_alike_has_no_weights_of_them(name: str) -> None:
    made = repool(model(), POOLS[name]).model
    assert inspect(made).to_json()["repooled"][0]["pool_weights"] == []
    assert rewrite(made, write=False).heads[0].pool_weights == ()


@pytest.mark.parametrize("make", [model, channels_last], ids=["gemm", "channels last"])
def test_the_last_layer_is_read_off_however_it_is_spelled(make: Any) -> None:
    source = load_model(make())
    analysis, head = head_to_fit(source, "y")
    weight, offset = layer_of(analysis, head)
    np.testing.assert_allclose(weight, WEIGHT, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(offset, OFFSET if make is model else np.zeros(K), rtol=1e-5, atol=1e-6)


def test_a_head_that_is_no_layer_is_refused() -> None:
    body = (
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n r = Relu(f)\n z = Gemm<transB=1>(r, w, b)\n y = Softmax<axis=1>(z)"
    )
    gated = text_model(body, init={"w": WEIGHT, "b": OFFSET})
    with pytest.raises(InputError, match=r"no last linear layer to be read off: .*not linear"):
        layer_of(*head_to_fit(load_model(gated), "y"))
    with pytest.raises(InputError, match="not linear"):
        repool(gated, POOLS["head"])
    assert repool(gated, POOLS["mix"]).heads[0].aggregator == POOLS["mix"]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (FittedPool("mix", (Aggregator("max"),), {"scale": np.ones(1), "bias": np.zeros(4)}), "is of 4 logits"),
        (FittedPool("flex", (), arrays(positions=np.ones((2, 2)))), "2 x 2 cells"),
        (
            FittedPool("head", (Aggregator("max"),), arrays(weight=np.ones((K, 4)), offset=np.zeros(K))),
            "another number of features",
        ),
    ],
)
def test_a_pool_of_another_head_does_not_fit(wrong: FittedPool, why: str) -> None:
    with pytest.raises(InputError, match=why):
        repool(model(), wrong)


def test_positions_are_refused_where_the_size_is_open() -> None:
    vendor = text_model(GEMM, x="float[N,6,H,W] x", init={"w": WEIGHT, "b": OFFSET})
    with pytest.raises(InputError, match="open size"):
        repool(vendor, POOLS["flex"])
    assert repool(vendor, POOLS["calibrated"]).heads[0].aggregator == POOLS["calibrated"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": np.ones(2), "bias": np.zeros(3)},
        {"bias": np.zeros(3)},
        {"scale": np.ones(1), "bias": np.array([np.nan])},
        {"scale": np.ones(1), "bias": np.zeros(3), "weight": np.ones((3, 2))},
        {"scale": np.ones(1), "bias": np.zeros(3), "other": np.zeros(3)},
    ],
)
def test_arrays_that_are_no_pool_are_refused(wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="is damaged"):
        FittedPool("mix", (Aggregator("max"),), wrong)


# --- what a file says of itself -------------------------------------------------------------------------------------


def test_the_numbers_of_the_record_are_those_of_the_graph() -> None:
    made = repool(model(), POOLS["mix"]).model
    record = json.loads(next(entry.value for entry in made.metadata_props if entry.key == POOL_KEY))
    (head,) = record["heads"]
    assert (head["aggregator"], head["fitted"]["fit"]) == ("fitted mix", "mix")
    assert head["fitted"]["aggregators"] == ["mean", "lse=2", "prob_mean"]
    bias = next(tensor for tensor in made.graph.initializer if tensor.name == head["fitted"]["constants"]["bias"])
    np.testing.assert_array_equal(numpy_helper.to_array(bias), POOLS["mix"].arrays["bias"])


def test_another_formula_than_the_record_says_is_found() -> None:
    made = repool(model(), POOLS["calibrated"]).model
    for entry in made.metadata_props:
        entry.value = entry.value.replace('"topk=0.3"', '"max"') if entry.key == POOL_KEY else entry.value
    with pytest.raises(ProofError, match="its record of pools does not hold: its answers are not those of"):
        rewrite(made)


@pytest.mark.parametrize(("old", "new"), [('"bias":"gapmil', '"bias":"nowhere'), ('"bias":', '"biases":')])
def test_a_damaged_record_is_one_sentence(old: str, new: str) -> None:
    made = repool(model(), POOLS["calibrated"]).model
    for entry in made.metadata_props:
        if entry.key == POOL_KEY:
            assert old in entry.value
            entry.value = entry.value.replace(old, new)
    with pytest.raises(ModelError, match=r"record of pools \(gapmil.pool\) is damaged"):
        rewrite(made)


def test_a_graph_that_computes_something_else_fails_its_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    real = repooling.repool_graph

    def broken(*arguments: Any, **named: Any) -> Any:
        made = real(*arguments, **named)
        constant = made.record.heads[0].constants["bias"]
        tensor = next(entry for entry in made.model.graph.initializer if entry.name == constant)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(1e-3), constant))
        return made

    monkeypatch.setattr(repooling, "repool_graph", broken)
    with pytest.raises(ProofError, match="its logits differ from 'fitted mix' of its cells"):
        repool(model(), POOLS["mix"])
