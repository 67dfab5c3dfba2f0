"""Each proof fails where what it claims is wrong, and only there; what it cannot be run on is said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.proof.algebra import WideGraph
from onnx_gapmil.rewriting.proof.report import ProofReport
from onnx_gapmil.rewriting.proof.tolerances import TOLERANCE
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import proof_of, rewrite, verify
from onnx_gapmil.show.terminal.rewrite_note import proof_note
from tests.helpers.support import assert_close, dense, run, text_model, weights

W, B = weights(5, 6), weights(5)
POOL = "p = GlobalAveragePool(x)\n f = Flatten(p)\n"
HEAD = f"{POOL} y = Gemm<transB=1>(f, w, b)"


def vendor(bias: np.ndarray = B, **changes: str) -> onnx.ModelProto:
    return text_model(HEAD, init={"w": W, "b": bias}, **changes)


def edited(
    edit: Callable[[onnx.ModelProto, onnx.NodeProto], None], model: onnx.ModelProto | None = None
) -> onnx.ModelProto:
    """A rewritten model whose last node, which makes the grid, was edited by hand."""
    made = onnx.ModelProto()
    made.CopyFrom(rewrite_model(model if model is not None else vendor()).model)
    edit(made, next(node for node in made.graph.node if node.output[0] == "gapmil_grid"))
    return made


def before_grid(
    model: onnx.ModelProto, last: onnx.NodeProto, op: str, name: str, array: np.ndarray, **attrs: int
) -> None:
    """A node with a constant between the grid and what makes it."""
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    place = list(model.graph.node).index(last)
    model.graph.node.insert(place, helper.make_node(op, [last.input[0], name], [f"{name}_out"], **attrs))
    model.graph.node[place + 1].input[0] = f"{name}_out"


def states(report: ProofReport) -> dict[str, bool | None]:
    found: dict[str, bool | None] = {
        check.name: check.passed for check in report.checks if check.name in ("sum", "cell")
    }
    return found


def test_an_exact_head_passes_both_with_figures() -> None:
    report = rewrite(vendor(), write=False).proof
    assert report is not None
    assert states(report) == {"sum": True, "cell": True}
    found = report.to_json()
    assert 0 < found["sum"]["measure"] < found["sum"]["allowed"] == 2e-5
    assert found["sum"]["float64"]["measure"] < 1e-14
    assert 0 < found["cell"]["measure"] < found["cell"]["allowed"] == 2e-5
    assert found["sum"]["skipped"] is found["cell"]["skipped"] is None


def test_cells_that_were_exchanged_fail_the_cells_alone() -> None:
    def columns_reversed(model: onnx.ModelProto, last: onnx.NodeProto) -> None:
        before_grid(model, last, "Gather", "order", np.arange(5)[::-1].copy(), axis=3)

    report = verify(vendor(), edited(columns_reversed))
    assert states(report) == {"sum": True, "cell": False}
    (reason,) = report.reasons()
    assert "the head's own answer to cell (0, 0) alone differs" in reason or "to cell (" in reason


def test_a_map_whose_cells_were_exchanged_before_the_head_fails_the_cells() -> None:
    """The grid and the features agree with each other, but not with the vendor's map."""

    def map_reversed(model: onnx.ModelProto, last: onnx.NodeProto) -> None:
        del last
        model.graph.initializer.append(numpy_helper.from_array(np.arange(3)[::-1].copy(), "order"))
        conv = next(node for node in model.graph.node if node.op_type == "Conv")
        features = next(node for node in model.graph.node if node.output[0] == "gapmil_features")
        place = next(place for place, node in enumerate(model.graph.node) if node.op_type == "Conv")
        conv.input[0] = features.input[0] = "turned"
        model.graph.node.insert(place, helper.make_node("Gather", ["x", "order"], ["turned"], axis=2))

    report = verify(vendor(), edited(map_reversed))
    assert states(report) == {"sum": True, "cell": False}


@pytest.mark.parametrize("kind", ["scaled", "bias", "shifted"])
def test_one_class_that_is_wrong_fails_the_sum_and_its_cells(kind: str) -> None:
    def wrong(model: onnx.ModelProto, last: onnx.NodeProto) -> None:
        factor, more = np.ones((1, 5, 1, 1), np.float32), np.zeros((1, 5, 1, 1), np.float32)
        factor[0, 2], more[0, 2] = (1.01, 0) if kind == "scaled" else (1, -B[2] if kind == "bias" else 0.01)
        before_grid(model, last, "Mul", "factor", factor)
        before_grid(
            model, next(node for node in model.graph.node if node.output[0] == "gapmil_grid"), "Add", "more", more
        )

    report = verify(vendor(), edited(wrong))
    assert states(report) == {"sum": False, "cell": False}
    assert "class 2" in report.reasons()[-1]


def test_a_huge_logit_does_not_hide_the_error_of_another_class() -> None:
    """1e9 in class 4: relative to it, an error of 0.1 in class 1 is 1e-10."""
    bias = B.copy()
    bias[4] = -1e9

    def shifted(model: onnx.ModelProto, last: onnx.NodeProto) -> None:
        more = np.zeros((1, 5, 1, 1), np.float32)
        more[0, 1] = 0.1
        before_grid(model, last, "Add", "more", more)

    honest = verify(vendor(bias), rewrite_model(vendor(bias)).model)
    assert states(honest) == {"sum": True, "cell": True}
    report = verify(vendor(bias), edited(shifted, vendor(bias)))
    residual = report.residual("y")
    assert residual is not None
    assert residual < 2e-5, "the residual does not see it"
    assert states(report) == {"sum": False, "cell": False}
    assert "the mean over cells of class 1 differs from its logit" in report.reasons()[0]


def test_a_class_switched_off_by_its_bias_concerns_no_other() -> None:
    bias = B.copy()
    bias[3] = -np.inf
    report = rewrite(vendor(bias), write=False).proof
    assert report is not None
    assert states(report) == {"sum": True, "cell": True}

    def on_again(model: onnx.ModelProto, last: onnx.NodeProto) -> None:
        del last
        model.graph.initializer.append(numpy_helper.from_array(B, "finite"))
        next(node for node in model.graph.node if node.op_type == "Conv").input[2] = "finite"

    found = verify(vendor(bias), edited(on_again, vendor(bias)))
    assert found.checks[0].passed is False
    assert "the logit of class 3 a number" in " ".join(found.reasons())


def test_reductions_are_compared_though_a_class_is_switched_off() -> None:
    bias = B.copy()
    bias[3] = -np.inf
    model = vendor(bias)
    wish = "grid,argmax,certainty,peaks,topk:3,classes:3,1,scores:max,mean,lse=10,noisy_or"
    made = rewrite(model, emit=wish, write=False)
    assert made.proof is not None
    assert made.proof.passed
    measured = made.proof.to_json()["emissions"]
    assert len(measured) == 10
    assert all(value is not None and value < 2e-5 for value in measured.values())


def test_a_bias_that_is_no_number_is_told_by_its_own_class() -> None:
    bias = B.copy()
    bias[1] = np.nan
    with pytest.raises(ModelError, match=r"answers no number for class 1 \(NaN\)"):
        rewrite(vendor(bias), write=False)
    report = proof_of(rewrite_model(load_model(vendor(bias))))
    assert report is not None
    assert not report.passed
    errors = report.class_errors("y")
    assert errors is not None
    assert np.isnan(errors).tolist() == [False, True, False, False, False]
    assert np.nanmax(errors) < 2e-5


def test_an_image_that_saturates_all_classes_proves_nothing_and_refutes_nothing() -> None:
    """Of a batch of one: a probability that rounds to 1 has infinite odds; smaller images give the sum."""
    body = (
        HEAD.replace("y =", "z =") + "\n s = Sigmoid(z)\n q = Sub(one, s)\n o = Div(s, q)\n l = Log(o)\n y = Mul(l, v)"
    )
    init = {"w": 9 * W, "b": B, "one": np.float32(1), "v": np.linspace(1, 2, len(B), dtype=np.float32)}
    model = text_model(body, x="float[1,6,3,5] x", y="float[1,5] y", init=init)
    report = rewrite(model, write=False).proof
    assert report is not None
    without = [trial.inputs for trial in report.trials if "y" not in trial.residuals]
    assert without
    assert all("0 to 255" in inputs for inputs in without)
    assert report.residual("y") is not None
    assert not np.isnan(report.class_errors("y")).any()  # type: ignore[arg-type]


MIXING = {
    "convolution": "n = Conv<pads=[1, 1, 1, 1]>(m, k3)",
    "attention": "t = Reshape(m, tokens)\n u = Transpose<perm=[0, 2, 1]>(t)\n s = MatMul(u, t)\n"
    " a = Softmax<axis=2>(s)\n o = MatMul(t, a)\n n = Reshape(o, map)",
    "normalization": "i = InstanceNormalization(m, one, one)\n n = Add(i, m)",
}


def of_two_maps(mixing: str) -> onnx.ModelProto:
    """The pool of a map beside that of one which a layer that mixes positions makes of it."""
    body = (
        f"m = Conv<strides=[4, 4]>(x, k)\n {MIXING[mixing]}\n p = GlobalAveragePool(m)\n q = GlobalAveragePool(n)\n"
        " j = Concat<axis=1>(p, q)\n f = Flatten(j)\n y = Gemm<transB=1>(f, w2, b)"
    )
    init = {
        "k": weights(6, 3, 4, 4) / 4,
        "k3": weights(6, 6, 3, 3) / 4,
        "w2": weights(5, 12),
        "b": B,
        "one": np.ones(6, np.float32),
        "tokens": np.array([0, 6, 20]),
        "map": np.array([0, 6, 4, 5]),
    }
    return text_model(body, x="float[N,3,16,20] x", init=init)


@pytest.mark.parametrize("mixing", sorted(MIXING))
def test_a_map_and_what_a_layer_makes_of_it_are_both_given_to_the_head(mixing: str) -> None:
    """A cell is the head's answer to what both maps have there: filled with one cell, no attention makes the other."""
    model = of_two_maps(mixing)
    made = rewrite(model, write=False)
    assert made.proof is not None
    assert states(made.proof) == {"sum": True, "cell": True}
    assert made.heads[0].verdict == "exact"
    twin = onnx.ModelProto()
    twin.CopyFrom(made.model)
    twin.graph.output.extend(onnx.ValueInfoProto(name=name) for name in "mn")
    x = np.random.default_rng(3).standard_normal((2, 3, 16, 20)).astype(np.float32)
    m, n, grid = run(twin, x, ["m", "n", "gapmil_grid"])
    joined = np.concatenate([m, n], axis=1).astype(np.float64)
    assert_close(grid, dense(weights(5, 12), B)(joined), 2e-5)


def test_cells_of_the_second_map_that_were_exchanged_fail_the_cells() -> None:
    model = of_two_maps("convolution")

    def second_reversed(made: onnx.ModelProto, last: onnx.NodeProto) -> None:
        del last
        made.graph.initializer.append(numpy_helper.from_array(np.arange(4)[::-1].copy(), "order"))
        joins = [node for node in made.graph.node if list(node.input) == ["m", "n"]]
        for node in joins:
            node.input[1] = "turned"
        place = list(made.graph.node).index(joins[0])
        made.graph.node.insert(place, helper.make_node("Gather", ["n", "order"], ["turned"], axis=2))

    report = verify(model, edited(second_reversed, model))
    assert states(report) == {"sum": True, "cell": False}


def test_a_head_in_half_precision_between_float32_is_held_to_half_precision() -> None:
    """Autocast pools in float32 and casts behind the pool, and back before the loss: neither map nor logits tell."""
    kernel = np.random.default_rng(0).standard_normal((6, 3, 4, 4)).astype(np.float32)
    body = (
        "m = Conv<strides=[4, 4]>(x, k)\n p = GlobalAveragePool(m)\n h = Cast<to=10>(p)\n f = Flatten(h)\n"
        " z = Gemm<transB=1>(f, w, b)\n y = CastLike(z, k)"
    )
    half = {"w": W.astype(np.float16), "b": B.astype(np.float16)}
    model = text_model(body, x="float[N,3,16,24] x", init={"k": kernel, **half})
    made = rewrite(model, write=False)
    assert made.proof is not None
    assert made.proof.passed
    assert (made.heads[0].verdict, made.proof.tolerance) == ("exact", {"y": TOLERANCE[2]})


def test_what_saturates_is_reached_by_the_large_inputs() -> None:
    """A grid without the vendor's upper limit is right until it is reached."""
    model = text_model("c = Clip(x, low, high)\n" + HEAD.replace("x", "c"), init={"w": W, "b": B} | limits(-6, 6))

    def unlimited(model: onnx.ModelProto, last: onnx.NodeProto) -> None:
        del last
        next(node for node in model.graph.node if node.op_type == "Conv").input[0] = "x"

    report = verify(model, edited(unlimited, model))
    assert report.checks[0].passed is False
    assert [trial.residuals["y"] < 2e-5 for trial in report.trials] == [False, True], "the ordinary input passes"


def limits(low: float, high: float) -> dict[str, np.ndarray]:
    return {"low": np.float32(low), "high": np.float32(high)}


def test_a_quantized_head_is_held_to_its_bound_in_each_class_though_one_is_huge() -> None:
    """Rounding moves a logit by at most half a step of each pooled value times its weight."""
    bias, step = B.copy(), np.float32(0.05)
    bias[4] = -1e6
    body = (
        f"{POOL} q = QuantizeLinear(f, step, zero)\n d = DequantizeLinear(q, step, zero)\n y = Gemm<transB=1>(d, w, b)"
    )
    model = text_model(body, init={"w": W, "b": bias, "step": step, "zero": np.uint8(128)})
    made = rewrite(model, write=False)
    bound = made.heads[0].rounding_bound
    assert bound == pytest.approx(np.abs(W).sum(axis=1).max() * step / 2)
    assert made.proof is not None
    assert states(made.proof) == {"sum": True, "cell": None}
    assert made.proof.to_json()["sum"]["allowed"] == 0.05
    assert "integers" in made.proof.to_json()["sum"]["float64"]["skipped"]

    def shifted(model: onnx.ModelProto, last: onnx.NodeProto) -> None:
        more = np.zeros((1, 5, 1, 1), np.float32)
        more[0, 1] = 40 * bound
        before_grid(model, last, "Add", "more", more)

    wrong = edited(shifted, model)
    report = verify(model, wrong, provider="cpu")
    assert (report.residual("y") or 0) < 0.05, "the residual does not see it"
    assert report.checks[0].passed is False


# --- what it is run on, and what it is not ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "x", "init"),
    [
        pytest.param("f = ReduceMean<axes=[1, 2], keepdims=0>(x)", "float[N,3,5,6] x", {}, id="nhwc"),
        pytest.param("f = ReduceMean<axes=[1], keepdims=0>(x)", "float[N,15,6] x", {}, id="tokens"),
        pytest.param("f = ReduceMean<axes=[2], keepdims=0>(x)", "float[N,6,15] x", {}, id="signal"),
        pytest.param(
            "t = Transpose<perm=[0, 1, 3, 2]>(x)\n f = ReduceMean<axes=[2, 3], keepdims=0>(t)",
            "float[N,6,3,5] x",
            {},
            id="turned",
        ),
        pytest.param(
            "z = Relu(x)\n p = GlobalAveragePool(x)\n q = ReduceMean<axes=[2, 3]>(z)\n s = Add(p, q)\n f = Flatten(s)",
            "float[N,6,3,5] x",
            {},
            id="two maps",
        ),
    ],
)
def test_cells_of_every_layout_are_asked_for(body: str, x: str, init: dict[str, np.ndarray]) -> None:
    model = text_model(f"{body}\n y = Gemm<transB=1>(f, w, b)", x=x, init={"w": W, "b": B} | init)
    made = rewrite(model, write=False)
    assert made.proof is not None
    assert states(made.proof) == {"sum": True, "cell": True}

    def shifted(model: onnx.ModelProto, last: onnx.NodeProto) -> None:
        size = made.heads[0].grid_shape[3]
        assert isinstance(size, int)
        before_grid(model, last, "Gather", "order", np.roll(np.arange(size), 1), axis=3)

    assert states(verify(model, edited(shifted, model))) == {"sum": True, "cell": False}


@pytest.mark.parametrize(
    ("body", "init", "reason"),
    [
        pytest.param(
            f"{HEAD[: -len('y = Gemm<transB=1>(f, w, b)')]} r = Relu(f)\n y = Gemm<transB=1>(r, w, b)",
            {},
            "conditional",
            id="relu",
        ),
        pytest.param(
            "k = Conv(x, c)\n f = Flatten(k)\n y = Gemm<transB=1>(f, v, b)",
            {"v": weights(5, 90), "c": weights(6, 6, 1, 1)},
            "each position",
            id="flat",
        ),
    ],
)
def test_cells_that_are_not_claimed_are_not_passed(body: str, init: dict[str, np.ndarray], reason: str) -> None:
    model = text_model(body, init={"w": W, "b": B} | init)
    report = rewrite(model, write=False).proof
    assert report is not None
    assert report.passed
    assert states(report) == {"sum": True, "cell": None}
    assert reason in report.to_json()["cell"]["skipped"]
    assert "cell: not run: " in proof_note(report).plain


def test_cells_of_two_grids_of_other_sizes_are_of_several_positions_and_not_passed() -> None:
    model = text_model(
        "s = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(x)\n p = GlobalAveragePool(x)\n q = GlobalAveragePool(s)\n"
        " t = Add(p, q)\n f = Flatten(t)\n y = Gemm<transB=1>(f, w, b)",
        x="float[N,6,4,4] x",
        init={"w": W, "b": B},
    )
    report = rewrite(model, write=False).proof
    assert report is not None
    assert states(report) == {"sum": True, "cell": None}
    assert "several positions" in report.to_json()["cell"]["skipped"]


def test_half_precision_is_widened_and_a_large_map_may_round_more() -> None:
    half = {"w": W.astype(np.float16), "b": B.astype(np.float16)}
    model = text_model(HEAD, x="float16[N,6,3,5] x", y="float16[N,5] y", init=half)
    report = rewrite(model, write=False).proof
    assert report is not None
    assert report.to_json()["sum"]["float64"]["measure"] < 1e-14
    assert report.to_json()["cell"]["allowed"] == 5e-3
    wide = rewrite(vendor(x="float[N,6,96,96] x"), write=False).proof
    assert wide is not None
    assert wide.to_json()["cell"]["allowed"] == pytest.approx(96 * 96 * 2**-24)


def test_an_operator_that_the_reference_does_not_know_is_skipped_and_the_sum_is_proved() -> None:
    model = text_model(
        f'{POOL} y = com.microsoft.FusedGemm<transB=1, activation="Relu">(f, w, b)',
        init={"w": W, "b": B},
        domains='"com.microsoft" : 1',
    )
    report = rewrite(model, write=False).proof
    assert report is not None
    assert states(report) == {"sum": True, "cell": None}
    assert report.to_json()["sum"]["float64"]["passed"] is None
    assert "FusedGemm" in report.to_json()["sum"]["float64"]["skipped"]


def test_the_reference_runs_old_batch_normalization_as_at_inference() -> None:
    model = text_model(
        "y = BatchNormalization(x, s, s, m, v)",
        y="float[N,6,3,5] y",
        opset=9,
        init={"s": np.full(6, 2, np.float32), "m": np.ones(6, np.float32), "v": np.full(6, 4, np.float32)},
    )
    x = weights(2, 6, 3, 5)
    (found,) = WideGraph(model, None).run(["y"], {"x": x})
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, 2 * (x.astype(np.float64) - 1) / np.sqrt(4 + 1e-5) + 2, rtol=0, atol=1e-12)


def test_the_note_has_a_line_for_each_proof() -> None:
    report = rewrite(vendor(), write=False).proof
    assert report is not None
    _, first, second, _, last = proof_note(report).plain.splitlines()
    assert first.startswith("  sum: each class's logit is its cells' mean to ")
    assert "; in float64 to " in first
    assert second.startswith("  cell: 5 cells are the head's own answers to them, to ")
    assert second.endswith("(allowed 2e-05)")
    assert last.startswith("  as deployed: the vendor's outputs are equal bit for bit under all and extended")


def test_a_head_too_large_for_float64_is_skipped_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_gapmil.rewriting.proof.algebra.MAX_WEIGHTS", 20)
    report = rewrite(vendor(), write=False).proof
    assert report is not None
    assert report.passed
    assert "the head holds" in report.to_json()["sum"]["float64"]["skipped"]
    assert report.to_json()["sum"]["float64"]["passed"] is None


def test_what_the_reference_answers_otherwise_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    real = WideGraph.run
    monkeypatch.setattr(WideGraph, "run", lambda *given: [array * 1.1 for array in real(*given)])
    report = rewrite(vendor(), write=False).proof
    assert report is not None
    assert (
        report.to_json()["sum"]["float64"]["skipped"]
        == "onnx's reference evaluator answers otherwise than ONNX Runtime"
    )


def test_a_lift_that_is_wrong_in_float64_alone_fails() -> None:
    """An error of 1e-5 of the cells is within what float32 may round."""

    def nearly(model: onnx.ModelProto, last: onnx.NodeProto) -> None:
        before_grid(model, last, "Mul", "factor", np.float32(1.00001) * np.ones((1, 5, 1, 1), np.float32))

    report = verify(vendor(), edited(nearly))
    assert report.to_json()["sum"]["passed"] is False
    (reason,) = report.reasons()
    assert "in float64, the mean over cells of class" in reason


def test_a_map_and_its_own_crop_are_not_fed_with_numbers_of_their_own() -> None:
    """The mean goes on to the map before the crop, with weights, and the largest cell stays at the crop."""
    body = """
    e = Pad(x, pads)
    c = Slice(e, first, last, axes)
    p = GlobalAveragePool(c)
    q = GlobalMaxPool(c)
    s = Add(p, q)
    f = Flatten(s)
    y = Gemm<transB=1>(f, w, b)
    """
    cut = {
        "first": np.array([0]),
        "last": np.array([3]),
        "axes": np.array([2]),
        "pads": np.array([0, 0, 1, 0] + [0] * 4),
    }
    report = rewrite(text_model(body, x="float[N,6,3,4] x", init={"w": W, "b": B, **cut}), write=False).proof
    assert report is not None
    assert report.passed
    assert report.to_json()["sum"]["float64"]["passed"] is True


def test_float64_overflows_without_a_word() -> None:
    """Inputs larger than any photo are among those that are tried; nobody is told by a warning of NumPy's."""
    graph = WideGraph(text_model("e = Exp(x)\n y = Div(e, e)", y="float[N,6,3,5] y"), None)
    (found,) = graph.run(["y"], {"x": np.full((1, 6, 3, 5), 1e4, np.float32)})
    assert np.isnan(found).all()
