"""Another pool: each aggregator against plain formulas on the vendor's own head, run cell by cell; and the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_gapmil import Classifier, GridSession, inspect, repool, rewrite
from onnx_gapmil.aggregate.nodes import CellNodes
from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.graph.loading import POOL_KEY, load_model
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting import repooling
from onnx_gapmil.rewriting.analysis import Analysis, analyse
from onnx_gapmil.rewriting.proof.report import ProofError
from tests.helpers.support import cell_by_cell, images, run, text_model, weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
KEYS = ["max", "lse", "lse=5", "topk=0.3", "softmax_weighted=2", "noisy_or", "median", "generalized_mean", "prob_mean"]
W, B = weights(5, 6), weights(5, seed=1)
INIT = {"w": W, "b": B}
GEMM = "p = GlobalAveragePool(x)\n f = Flatten(p)\n {z} = Gemm<transB=1>(f, w, b)"


def none(opset: int = 17) -> onnx.ModelProto:
    return text_model(GEMM.format(z="y"), init=INIT, opset=opset)


def softmax(opset: int = 17) -> onnx.ModelProto:
    return text_model(GEMM.format(z="z") + "\n y = Softmax<axis=1>(z)", init=INIT, opset=opset)


def sigmoids(opset: int = 17) -> onnx.ModelProto:
    return text_model(GEMM.format(z="z") + "\n y = Sigmoid(z)", init=INIT, opset=opset)


def one_logit(opset: int = 17) -> onnx.ModelProto:
    body = GEMM.format(z="z") + "\n y = Sigmoid(z)"
    return text_model(body, init={"w": W[:1], "b": B[:1]}, y="float[N,1] y", opset=opset)


def unit_axes(opset: int = 17) -> onnx.ModelProto:
    init = {"w": W[:, :, None, None], "b": B}
    return text_model("p = GlobalAveragePool(x)\n y = Conv(p, w, b)", init=init, y="float[N,5,1,1] y", opset=opset)


def conv_before(opset: int = 17) -> onnx.ModelProto:
    body = "m = Conv(x, w, b)\n p = GlobalAveragePool(m)\n z = Flatten(p)\n y = Softmax<axis=1>(z)"
    return text_model(body, init={"w": W[:, :, None, None], "b": B}, opset=opset)


def classes_first(opset: int = 17) -> onnx.ModelProto:
    body = "p = GlobalAveragePool(x)\n f = Flatten(p)\n t = Transpose<perm=[1,0]>(f)\n y = MatMul(w, t)"
    return text_model(body, init={"w": W}, y="float[5,N] y", opset=opset)


MODELS = {
    "none": none, "softmax": softmax, "sigmoids": sigmoids, "one_logit": one_logit, "unit_axes": unit_axes,
    "conv_before": conv_before,
}  # fmt: skip


def cells_of(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """(N, K, P) float64: the vendor's logits of each cell alone."""
    return cell_by_cell(_bare(model), x).astype(np.float64)


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without its activation."""
    last = model.graph.node[-1]
    if last.op_type not in ("Softmax", "Sigmoid"):
        return model
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.node[-1]
    bare.graph.output[0].name = last.input[0]
    return bare


def by_hand(key: str, cells: np.ndarray, *, alone: bool) -> tuple[np.ndarray, bool]:
    """What an aggregator gives, by its formula; and whether that is a probability."""
    name, _, value = key.partition("=")
    r = float(value) if value else {"lse": 1.0, "generalized_mean": 3.0}.get(name, 0.0)
    p = 1 / (1 + np.exp(-cells)) if alone else np.exp(cells) / np.exp(cells).sum(axis=1, keepdims=True)
    count = cells.shape[-1]
    ordered = np.sort(cells, axis=-1)
    found = {
        "max": lambda: cells.max(axis=-1),
        "lse": lambda: np.log(np.exp(r * cells).mean(axis=-1)) / r,
        "topk": lambda: ordered[..., count - int(r * count + 0.5) :].mean(axis=-1),
        "softmax_weighted": lambda: (np.exp(r * cells) * cells).sum(axis=-1) / np.exp(r * cells).sum(axis=-1),
        "median": lambda: np.median(cells, axis=-1),
        "noisy_or": lambda: 1 - np.prod(1 - p, axis=-1),
        "generalized_mean": lambda: (p**r).mean(axis=-1) ** (1 / r),
        "prob_mean": lambda: p.mean(axis=-1),
    }[name]()
    return np.asarray(found), name in ("noisy_or", "generalized_mean", "prob_mean")


def expected(model: onnx.ModelProto, key: str, x: np.ndarray) -> np.ndarray:
    """What the repooled model is to answer, (N, K)."""
    last = model.graph.node[-1].op_type
    cells = cells_of(model, x)
    alone = last == "Sigmoid" or cells.shape[1] == 1
    found, is_probability = by_hand(key, cells, alone=alone)
    if last == "Softmax":
        powers = found if is_probability else np.exp(found)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if last == "Sigmoid":
        return found if is_probability else 1 / (1 + np.exp(-found))
    return np.log(found) if is_probability else found


def graph_bytes(model: onnx.ModelProto) -> bytes:
    return bytes(model.graph.SerializeToString(deterministic=True))


# --- the numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", list(MODELS))
def test_the_answer_is_the_aggregators_of_the_vendors_cells(name: str, key: str) -> None:
    model = MODELS[name]()
    x = images(model)
    made = repool(model, key).model
    onnx.checker.check_model(made)
    answer = run(made, x)[0]
    assert answer.shape == run(model, x)[0].shape
    np.testing.assert_allclose(answer.reshape(len(x), -1), expected(model, key, x), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("opset", [7, 9, 10, 13, 18, 21])
def test_on_every_operator_set(opset: int, key: str) -> None:
    model = softmax(opset)
    if opset < 10 and key.partition("=")[0] in ("topk", "median"):
        for axis, dim in zip((2, 3), (3, 5), strict=True):  # to sort an open number of cells takes operator set 10
            assert model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value == dim
    x = images(model)
    made = repool(model, key).model
    assert made.opset_import[0].version == opset
    np.testing.assert_allclose(run(made, x)[0], expected(model, key, x), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("opset", [7, 17])
def test_a_class_that_is_switched_off_stays_so(opset: int, key: str) -> None:
    """Minus infinity in every cell: the others answer as they do without it."""
    off = np.insert(W, 2, 0.0, axis=0), np.insert(B, 2, -np.inf)
    body = GEMM.format(z="z") + "\n y = Softmax<axis=1>(z)"
    model = text_model(body, init=dict(zip(("w", "b"), off, strict=True)), y="float[N,6] y", opset=opset)
    for axis, dim in zip((2, 3), (3, 5), strict=True):
        assert model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value == dim
    x = images(model)
    answer = np.insert(expected(softmax(opset), key, x), 2, 0.0, axis=1)
    np.testing.assert_allclose(run(repool(model, key).model, x)[0], answer, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("key", KEYS)
def test_initializers_that_are_inputs(key: str) -> None:
    model = text_model(GEMM.format(z="y"), x="float[N,6,3,5] x, float[5,6] w, float[5] b", init=INIT, opset=8, ir=3)
    made = repool(model, key).model
    x = images(none())
    assert [value.name for value in made.graph.input] == ["x", "w", "b"]
    np.testing.assert_allclose(run(made, {"x": x})[0], expected(none(), key, x), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("key", ["max", "lse", "prob_mean"])
def test_logits_with_the_classes_first(key: str) -> None:
    model = classes_first()
    x = images(model)
    found, is_probability = by_hand(key, (W @ x.reshape(3, 6, -1)).astype(np.float64), alone=False)
    logits = np.log(found) if is_probability else found
    np.testing.assert_allclose(run(repool(model, key).model, x)[0], logits.T, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("key", ["max", "lse", "prob_mean"])
def test_a_flattened_head(key: str) -> None:
    weight = weights(5, 90)
    body = "m = MaxPool<kernel_shape=[1,1]>(x)\n f = Flatten(m)\n z = Gemm<transB=1>(f, w, b)\n y = Softmax<axis=1>(z)"
    model = text_model(body, init={"w": weight, "b": B})
    x = images(model)
    slices = weight.reshape(1, 5, 6, 15) * x.reshape(3, 1, 6, 15)
    cells = 15 * slices.sum(axis=2).astype(np.float64) + B[None, :, None]
    found, is_probability = by_hand(key, cells, alone=False)
    powers = found if is_probability else np.exp(found - found.max(axis=1, keepdims=True))
    answer = run(repool(model, key).model, x)[0]
    np.testing.assert_allclose(answer, powers / powers.sum(axis=1, keepdims=True), rtol=5e-4, atol=2e-5)


@pytest.mark.parametrize("key", ["max", "generalized_mean"])
def test_half_precision(key: str) -> None:
    init = {"w": W.astype(np.float16), "b": B.astype(np.float16)}
    model = text_model(GEMM.format(z="y"), x="float16[N,6,3,5] x", y="float16[N,5] y", init=init)
    x = images(model)
    made = repool(model, key).model
    assert run(made, x)[0].dtype == np.float16
    found, is_probability = by_hand(key, cells_of(model, x), alone=False)
    logits = np.log(found) if is_probability else found
    np.testing.assert_allclose(run(made, x)[0].astype(np.float64), logits, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("key", KEYS)
def test_logits_that_saturate(key: str) -> None:
    """Logits of hundreds, where a probability is 1 or 0 in float32: its logarithm is not."""
    model = text_model(GEMM.format(z="y"), init={"w": 300 * W, "b": B})
    found = repool(model, key)
    assert found.proof is not None
    assert found.proof.passed
    answer = run(found.model, images(model))[0]
    assert np.isfinite(answer).all()


def test_probabilities_of_a_mean_over_cells_sum_to_one() -> None:
    model = softmax()
    x = images(model)
    answer = run(repool(model, "prob_mean").model, x)[0]
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-6)
    bare = run(repool(none(), "prob_mean").model, x)[0]
    np.testing.assert_allclose(np.exp(bare).sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.exp(bare), answer, atol=1e-6)


@pytest.mark.parametrize("name", ["digits_torch_legacy", "digits_keras", "digits_paddle", "digits_torch_dynamo"])
def test_sample_models_by_the_numbers_of_their_rewrite(name: str) -> None:
    """Heads of four exporters, one conditional: the cells that a rewrite gives, pooled in NumPy."""
    path = SAMPLES / f"{name}.onnx"
    session = GridSession(rewrite(path, write=False))
    shape = [3 if axis is None else axis for axis in session.input.shape]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (grid,) = session.run(x)
    assert grid.grid is not None
    cells = grid.grid.reshape(*grid.logits.shape, -1).astype(np.float64)
    last = onnx.load(path).graph.node[-1].op_type
    for key in KEYS:
        found, is_probability = by_hand(key, cells, alone=False)
        logits = np.log(found) if is_probability else found
        made = repool(path, key, write=False).model
        if last == "Softmax":
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            logits = powers / powers.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(run(made, x)[0], logits, rtol=1e-3, atol=1e-4)


# --- what stays -------------------------------------------------------------------------------------------------------


def test_inputs_outputs_weights_and_metadata_stay() -> None:
    model = softmax()
    model.metadata_props.add(key="licence", value="theirs")
    made = repool(model, "max").model
    assert list(made.graph.input) == list(model.graph.input)
    assert list(made.graph.output) == list(model.graph.output)
    assert list(made.graph.initializer)[:2] == list(model.graph.initializer)
    assert {entry.key for entry in made.metadata_props} == {"licence", POOL_KEY}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", list(MODELS))
def test_mean_gives_the_vendors_graph_back(name: str, key: str) -> None:
    model = MODELS[name]()
    back = repool(repool(model, key).model, "mean")
    assert back.is_vendors
    assert not back.unchanged
    assert graph_bytes(back.model) == graph_bytes(model)
    assert not back.model.metadata_props


def test_a_file_given_back_is_the_vendors_byte_by_byte(tmp_path: Path) -> None:
    source = SAMPLES / "digits_torch_legacy.onnx"
    repool(source, "lse", tmp_path / "lse.onnx")
    rewrite(tmp_path / "lse.onnx", tmp_path / "lse.gapmil.onnx")
    repool(tmp_path / "lse.gapmil.onnx", "mean", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()


def test_the_same_pool_again_changes_nothing(tmp_path: Path) -> None:
    onnx.save(softmax(), tmp_path / "m.onnx")
    repool(tmp_path / "m.onnx", "lse=5", tmp_path / "a.onnx")
    again = repool(tmp_path / "a.onnx", "lse=5", tmp_path / "b.onnx")
    assert again.unchanged
    assert again.proof is None
    assert not (tmp_path / "b.onnx").exists()
    vendors = repool(tmp_path / "m.onnx", "mean", tmp_path / "b.onnx")
    assert vendors.unchanged
    assert not (tmp_path / "b.onnx").exists()


def test_another_pool_replaces_the_one_before() -> None:
    once = repool(repool(softmax(), "max").model, "prob_mean").model
    assert graph_bytes(once) == graph_bytes(repool(softmax(), "prob_mean").model)


def test_a_rewritten_file_is_taken_and_its_new_outputs_left_out() -> None:
    lifted = rewrite(softmax()).model
    assert graph_bytes(repool(lifted, "max").model) == graph_bytes(repool(softmax(), "max").model)


# --- what others see --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["max", "prob_mean"])
def test_a_repooled_model_is_lifted_again(key: str) -> None:
    model = softmax()
    x = images(model)
    made = repool(model, key).model
    again = rewrite(made)
    (head,) = again.heads
    assert (head.pool, head.verdict) == (key, "exact")
    assert again.proof is not None
    assert again.proof.passed
    names = [head.grid, head.logits, head.pooled, "y"]
    assert None not in names
    grid, mean, pooled, answer = run(again.model, x, [str(name) for name in names])
    cells = cells_of(model, x)
    np.testing.assert_allclose(grid.reshape(cells.shape), cells, atol=1e-4)
    np.testing.assert_allclose(mean, cells.mean(axis=2), atol=1e-4)
    powers = np.exp(pooled - pooled.max(axis=1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), answer, atol=1e-6)
    np.testing.assert_allclose(answer, run(made, x)[0], atol=0)
    assert rewrite(again.model).unchanged


def test_the_best_classes_of_an_image_are_by_the_new_pool() -> None:
    model = none()
    x = images(model, 9)
    lifted = rewrite(repool(model, "max").model, emit="topk:2")
    (head,) = lifted.heads
    assert head.topk is not None
    (best,) = run(lifted.model, x, [head.topk.classes])
    cells = cells_of(model, x)
    np.testing.assert_array_equal(best, np.argsort(-cells.max(axis=2), axis=1)[:, :2])
    assert (best != np.argsort(-cells.mean(axis=2), axis=1)[:, :2]).any()


def test_a_session_answers_by_the_new_pool() -> None:
    model = none()
    x = images(model)
    (found,) = GridSession(repool(model, "max").model, "cpu").run(x)
    np.testing.assert_allclose(found.logits, cells_of(model, x).max(axis=2), atol=1e-4)


def test_inspect_names_the_pool_and_lifts_the_vendors_head() -> None:
    found = inspect(repool(softmax(), "lse=5").model)
    assert [head.aggregator.key for head in found.repooled] == ["lse=5"]
    assert [step.op for step in found.heads[0].chain] == ["GlobalAveragePool", "Flatten", "Gemm"]
    assert found.to_json()["repooled"][0]["aggregator"] == "lse=5"
    assert inspect(softmax()).repooled == ()
    inner = inspect(rewrite(repool(softmax(), "max").model).model)
    assert [head.output for head in inner.heads] == ["y"]
    assert inner.repooled[0].aggregator.key == "max"


# --- several heads ----------------------------------------------------------------------------------------------------


def two_heads() -> onnx.ModelProto:
    body = """p = GlobalAveragePool(x)
 f = Flatten(p)
 y = Gemm<transB=1>(f, w, b)
 z = Gemm<transB=1>(f, v)
 q = Sigmoid(z)"""
    return text_model(body, y="float[N,5] y, float[N,2] q", init={**INIT, "v": weights(2, 6, seed=3)})


def test_one_head_of_two_and_then_the_other() -> None:
    model = two_heads()
    x = images(model)
    before = run(model, x)
    made = repool(model, "max", head="y")
    assert [head.output for head in made.heads] == ["y"]
    after = run(made.model, x)
    np.testing.assert_array_equal(after[1], before[1])
    assert not np.allclose(after[0], before[0])
    both = repool(made.model, "prob_mean", head="q")
    assert {head.output: head.aggregator.key for head in both.heads} == {"y": "max", "q": "prob_mean"}
    np.testing.assert_array_equal(run(both.model, x)[0], after[0])
    assert graph_bytes(repool(both.model, "mean").model) == graph_bytes(model)
    assert {head.output for head in repool(model, "max").heads} == {"y", "q"}


def test_scores_and_their_best_class_are_one_head() -> None:
    body = GEMM.format(z="z") + "\n y = Softmax<axis=1>(z)\n best = ArgMax<axis=1, keepdims=0>(z)"
    model = text_model(body, y="float[N,5] y, int64[N] best", init=INIT)
    x = images(model)
    answer, best = run(repool(model, "max").model, x)
    np.testing.assert_array_equal(best, cells_of(softmax(), x).max(axis=2).argmax(axis=1))
    np.testing.assert_array_equal(best, answer.argmax(axis=1))


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(make: Callable[[], object]) -> str:
    with pytest.raises(UnsupportedHeadError) as caught:
        make()
    assert caught.value.exit_code == 3
    return f"{caught.value.refusal.code}: {caught.value.refusal.message}"


def test_an_output_of_the_logits_that_is_not_followed() -> None:
    body = GEMM.format(z="z") + "\n y = Softmax<axis=1>(z)\n t = ReduceSum(z)"
    model = text_model(body, y="float[N,5] y, float[1,1] t", init=INIT)
    said = refused(lambda: repool(model, "max"))
    assert said.startswith("not-repoolable")
    assert "'t' is made of these logits too" in said


def test_the_opposite_of_probabilities() -> None:
    body = GEMM.format(z="z") + "\n p1 = Softmax<axis=1>(z)\n y = Sub(one, p1)"
    model = text_model(body, init={**INIT, "one": np.float32(1)})
    assert "opposites" in refused(lambda: repool(model, "max"))


def test_a_head_without_a_pool_is_refused_as_by_rewrite() -> None:
    with pytest.raises(UnsupportedHeadError) as ours:
        repool(SAMPLES / "digits_torch_vit.onnx", "max", write=False)
    with pytest.raises(UnsupportedHeadError) as theirs:
        rewrite(SAMPLES / "digits_torch_vit.onnx", write=False)
    assert ours.value.refusal == theirs.value.refusal


@pytest.mark.parametrize("key", ["maximum", "lse=0", "topk=1.5", "max=2", "lse=much", ""])
def test_what_is_no_aggregator(key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.$"):
        repool(SAMPLES / "digits_torch_legacy.onnx", key, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_what_is_no_head() -> None:
    with pytest.raises(InputError, match="no head 'other'"):
        repool(none(), "max", head="other")


def test_the_original_is_never_overwritten(tmp_path: Path) -> None:
    onnx.save(none(), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="never overwritten"):
        repool(tmp_path / "m.onnx", "max", tmp_path / "m.onnx")
    repool(tmp_path / "m.onnx", "max")
    assert (tmp_path / "m.repooled.onnx").exists()


def test_weights_in_another_file(tmp_path: Path) -> None:
    onnx.save(none(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="which the repooled model shares"):
        repool(tmp_path / "m.onnx", "max", tmp_path / "other" / "out.onnx")
    repool(tmp_path / "m.onnx", "max", tmp_path / "out.onnx")
    x = images(none())
    (found,) = GridSession(tmp_path / "out.onnx", "cpu").run(x)
    np.testing.assert_allclose(found.logits, cells_of(none(), x).max(axis=2), atol=1e-4)


# --- proof and claim --------------------------------------------------------------------------------------------------


def test_a_failed_proof_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = CellNodes.logits

    def wrong(self: CellNodes, aggregator: object) -> str:
        found = right(self, aggregator)  # type: ignore[arg-type]
        return self._build.node("Mul", [found, self._number(1.001)])

    monkeypatch.setattr(CellNodes, "logits", wrong)
    onnx.save(none(), tmp_path / "m.onnx")
    with pytest.raises(ProofError, match="its logits differ from 'max' of its cells") as caught:
        repool(tmp_path / "m.onnx", "max", tmp_path / "out.onnx")
    assert caught.value.exit_code == 1
    assert not (tmp_path / "out.onnx").exists()


def test_the_proof_says_what_it_measured() -> None:
    made = repool(softmax(), "noisy_or")
    figure = made.figure("y")
    assert figure is not None
    assert figure.passed
    assert figure.allowed == 2e-5
    assert made.proof is not None
    assert {"sum", "cell", "place", "pool"} <= {check.name for check in made.proof.checks}
    record = json.loads({entry.key: entry.value for entry in made.model.metadata_props}[POOL_KEY])
    assert record["residual"] == figure.measure


def test_a_model_too_large_to_run_is_proved_by_its_head_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def unmeasured(source: LoadedModel, class_token: ClassTokenMode | None = None) -> Analysis:
        found = analyse(source, class_token=class_token)
        return replace(found, trace=replace(found.trace, measured=False))

    monkeypatch.setattr(repooling, "analyse", unmeasured)
    made = repool(SAMPLES / "digits_keras.onnx", "prob_mean", write=False)
    (head,) = made.heads
    figure = made.figure(head.output)
    assert figure is not None
    assert figure.detail.startswith("the head alone")
    assert figure.measure is not None
    assert 0 < figure.measure < 2e-5


def forged(change: Callable[[onnx.ModelProto, dict[str, object]], None]) -> onnx.ModelProto:
    made = repool(softmax(), "max").model
    entry = next(entry for entry in made.metadata_props if entry.key == POOL_KEY)
    record = json.loads(entry.value)
    change(made, record)
    entry.value = json.dumps(record)
    return made


def _other_pool(_: onnx.ModelProto, record: dict[str, object]) -> None:
    record["heads"][0]["aggregator"] = "median"  # type: ignore[index]


def _other_node(model: onnx.ModelProto, _: dict[str, object]) -> None:
    next(node for node in model.graph.node if node.op_type == "ReduceMax").op_type = "ReduceMin"


def _other_weights(model: onnx.ModelProto, _: dict[str, object]) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(2 * W, "w"))


def _other_reading(_: onnx.ModelProto, record: dict[str, object]) -> None:
    record["heads"][0]["alone"] = True  # type: ignore[index]


@pytest.mark.parametrize("change", [_other_pool, _other_node, _other_weights, _other_reading])
def test_a_record_that_is_not_true_is_found_out(
    change: Callable[[onnx.ModelProto, dict[str, object]], None],
) -> None:
    model = forged(change)
    for verb in (lambda: repool(model, "lse"), lambda: rewrite(model), lambda: inspect(model)):
        with pytest.raises(ProofError, match="record of pools does not hold"):
            verb()


@pytest.mark.parametrize("text", ["{", "[]", '{"heads": []}', '{"heads": [{"output": 3}]}'])
def test_a_damaged_record_is_said(text: str) -> None:
    model = repool(softmax(), "max").model
    next(entry for entry in model.metadata_props if entry.key == POOL_KEY).value = text
    with pytest.raises(ModelError, match=r"record of pools .* is damaged"):
        load_and_inspect(model)


def load_and_inspect(model: onnx.ModelProto) -> object:
    return inspect(load_model(model))


def _switched_off(value: float) -> onnx.ModelProto:
    bias = B.copy()
    bias[2] = value
    return text_model(GEMM.format(z="y"), init={"w": W, "b": bias})


@pytest.mark.parametrize("key", KEYS)
def test_the_logit_of_a_class_that_is_switched_off_is_minus_infinity(key: str) -> None:
    model = _switched_off(-np.inf)
    x = images(model)
    answer = run(repool(model, key).model, x)[0]
    np.testing.assert_array_equal(answer[:, 2], np.full(len(x), -np.inf))
    assert np.isfinite(np.delete(answer, 2, axis=1)).all()


def test_an_aggregator_that_makes_no_number_of_it_is_not_written() -> None:
    with pytest.raises(ProofError, match="are no numbers"):
        repool(_switched_off(np.inf), "lse")


@pytest.mark.parametrize("act", [rewrite, lambda model: repool(model, "max")], ids=["rewrite", "repool"])
def test_of_a_class_that_is_no_number_nothing_is_proved(act: Callable[[onnx.ModelProto], object]) -> None:
    with pytest.raises(ModelError, match=r"cannot be proved: .*answers no number for class 2 \(NaN\)"):
        act(_switched_off(np.nan))


def test_a_pool_that_another_version_spelled_otherwise_is_held_against_its_answers() -> None:
    made = repool(softmax(), "max").model
    last = next(node for node in made.graph.node if list(node.output) == ["z"])
    read, place = last.input[0], list(made.graph.node).index(last)
    last.input[0] = "gapmil/again"
    for name, source in (("gapmil/again", "gapmil/turned"), ("gapmil/turned", read)):
        made.graph.node.insert(place, onnx.helper.make_node("Neg", [source], [name]))
    assert inspect(made).repooled[0].aggregator.key == "max"
    assert graph_bytes(repool(made, "mean").model) == graph_bytes(softmax())


@pytest.mark.parametrize("mode", ["direct", "through"])
def test_a_repooled_class_token_keeps_the_lift_that_its_pool_is_of(mode: ClassTokenMode, tmp_path: Path) -> None:
    """Cells of another lift were shown as those that the model answers by."""
    path = tmp_path / "pooled.onnx"
    repool(SAMPLES / "digits_torch_vit.onnx", "max", path, class_token=mode)
    other: ClassTokenMode = "direct" if mode == "through" else "through"
    model = Classifier(path, class_token=other)
    assert model.head.class_token == mode
    found = model.predict(SAMPLES / "scenes" / "scene_03.png")
    np.testing.assert_allclose(found.logits, found.grid.max(axis=(1, 2)), rtol=1e-4, atol=1e-4)
