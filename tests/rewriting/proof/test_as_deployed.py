"""The proof as deployed: it finds what moves under optimization, says it, and stops nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import LoadedModel, load_model
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.proof.as_deployed import Deployed, DeploymentProof, computes_in_float
from onnx_gapmil.rewriting.proof.graph_digest import output_digests
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite, verify
from onnx_gapmil.show.terminal.rewrite_note import proof_note
from tests.helpers.deployed import deployed, quantized
from tests.helpers.support import text_model, weights

W, B = weights(5, 6), weights(5)
HEAD = "p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"


def vendor(head: str = HEAD, **init: np.ndarray) -> onnx.ModelProto:
    return text_model(head, init={"w": W, "b": B, **init})


def with_reader(model: onnx.ModelProto, tensor: str, op: str = "Identity") -> LoadedModel:
    """A model with one more reader of a tensor, whose result is an output."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.node.append(helper.make_node(op, [tensor], ["more"]))
    changed.graph.output.append(onnx.ValueInfoProto(name="more"))
    return replace(load_model(model), proto=changed)


def test_a_float_model_is_run_once_at_each_level() -> None:
    found = DeploymentProof(load_model(vendor()), most=False).compare(load_model(vendor()), "plain")
    assert (found.equal, found.inputs, found.same_graph, found.kernels) == (True, 1, None, None)
    assert found.moved == {"y": {"all": 0.0, "extended": 0.0}}
    assert DeploymentProof(load_model(vendor())).compare(load_model(vendor()), "plain").inputs == 2


def test_another_answer_is_said_by_output_and_level() -> None:
    other = vendor()
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(W * np.float32(1.5), "w"))
    found = DeploymentProof(load_model(vendor())).compare(load_model(other), "plain")
    assert not found.equal
    check = found.check()
    assert check.passed is False
    assert not check.binding
    entry = check.to_json()
    assert 0.1 < entry["measure"] < 1.5
    assert entry["allowed"] == 0.0
    assert set(entry["heads"]["y"]["levels"]) == {"all", "extended"}
    assert "output 'y' moves by" in check.failures[0]


def test_a_reader_that_stops_a_fusion_is_seen_though_no_number_moves() -> None:
    """On a processor whose integer kernels do not saturate the outputs are equal, and on another they are not."""
    model = quantized(np.uint8)
    proof = DeploymentProof(load_model(model))
    assert proof.compare(load_model(model), "plain").settled
    found = proof.compare(with_reader(model, "c2"), "plain")  # the float between Conv and its QuantizeLinear
    assert found.same_graph is False
    assert not found.settled


def test_modes_in_which_a_rewritten_file_does_not_load_are_said() -> None:
    model = quantized(np.uint8)
    shared = onnx.ModelProto()
    shared.CopyFrom(model)
    node = next(node for node in model.graph.node if node.output[0] == "w3")
    shared.graph.node.append(helper.make_node("DequantizeLinear", node.input, ["more"]))
    shared.graph.output.append(onnx.ValueInfoProto(name="more"))
    found = DeploymentProof(load_model(model)).compare(replace(load_model(model), proto=shared), "plain")
    assert len(found.refused) == 1
    assert "under session.x64quantprecision=1, as the original does" in found.refused[0]
    assert found.check().passed is False


def test_operators_of_int8_times_int8_are_proved_as_they_are_spelled() -> None:
    """QOperator format with int8 activations: exact on every processor, and known to no precise mode."""
    values = np.random.default_rng(3)
    one, zero = np.array(0.05, np.float32), np.array(0, np.int8)
    model = text_model(
        """q = QuantizeLinear(x, s, z)
k = QLinearConv<pads=[1,1,1,1]>(q, s, z, u, v, z, s, z)
p = com.microsoft.QLinearGlobalAveragePool(k, s, z, s, z)
f = Flatten(p)
y = com.microsoft.QGemm<transB=1>(f, s, z, w, v, z, b)""",
        init={
            "s": one, "z": zero, "v": np.array(0.01, np.float32), "b": np.arange(-2, 3, dtype=np.int32) * 400,
            "u": values.integers(-127, 128, (6, 6, 3, 3)).astype(np.int8),
            "w": values.integers(-127, 128, (5, 6)).astype(np.int8),
        },
        domains='"com.microsoft" : 1',
    )  # fmt: skip
    made = rewrite(model, write=False)
    found = made.proof.to_json()
    assert (found["sum"]["passed"], found["as_deployed"]["passed"]) == (True, True)
    assert found["as_deployed"]["kernels"] == 0.0
    for entry in (model, made.model):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            deployed(entry, mode="session.x64quantprecision")


def test_what_cannot_be_run_is_not_passed() -> None:
    found = DeploymentProof(load_model(vendor("y = NoSuchOperator(x)"))).compare(load_model(vendor()), "plain")
    assert found.settled
    assert found.check().passed is None
    assert "does not load at 'all'" in found.check().joint.skipped


def test_a_difference_is_in_the_report_the_json_and_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = Deployed("plain", {"y": {"all": 0.0, "extended": 3e-6}}, 3)
    monkeypatch.setattr(DeploymentProof, "compare", lambda *_: moved)
    made = rewrite(vendor(), write=False)
    assert made.proof is not None
    assert made.proof.passed
    entry = made.proof.to_json()["as_deployed"]
    assert (entry["passed"], entry["measure"]) == (False, 3e-6)
    assert made.to_json()["heads"][0]["as_deployed"]["measure"] == 3e-6
    text = proof_note(made.proof).plain
    assert "as deployed: not equal: output 'y' moves by 3e-06 at 'extended' of its largest value" in text


def test_verify_compares_the_file_as_it_is(tmp_path: Path) -> None:
    onnx.save(quantized(np.int8), tmp_path / "m.onnx")
    made = rewrite(tmp_path / "m.onnx")
    assert made.output_path is not None
    entry = verify(tmp_path / "m.onnx", made.output_path).to_json()["as_deployed"]
    assert (entry["passed"], entry["attachment"], entry["same_graph"]) == (True, "shadow", True)
    plain = rewrite_model(tmp_path / "m.onnx").model
    onnx.save(plain, tmp_path / "plain.onnx")
    found = verify(tmp_path / "m.onnx", tmp_path / "plain.onnx").to_json()["as_deployed"]
    assert (found["attachment"], found["same_graph"]) == ("plain", False)


# --- digests ---------------------------------------------------------------------------------------------------------


def test_a_digest_knows_no_names_and_every_number() -> None:
    one, renamed = vendor(), vendor("q = GlobalAveragePool(x)\n g = Flatten(q)\n y = Gemm<transB=1>(g, w, b)")
    assert output_digests(one, ["y"]) == output_digests(renamed, ["y"])
    for changed in (vendor(b=B + np.float32(1e-6)), vendor(HEAD.replace("transB=1", "transB=1, alpha=2.0"))):
        assert output_digests(one, ["y"]) != output_digests(changed, ["y"])
    appended = with_reader(one, "f", "Relu").proto
    assert output_digests(one, ["y"]) == output_digests(appended, ["y"])


def test_a_digest_knows_which_output_of_a_node_is_read() -> None:
    body = "a, c = Split<axis=1>(x, n)\n p = GlobalAveragePool(a)\n y = Flatten(p)"
    first, second = (
        text_model(text, y="float[N,3] y", init={"n": np.array([3, 3])}) for text in (body, body.replace("(a)", "(c)"))
    )
    assert output_digests(first, ["y"]) != output_digests(second, ["y"])


def test_half_precision_and_integers_are_told_from_float() -> None:
    assert computes_in_float(vendor())
    assert not computes_in_float(quantized(np.uint8))
    assert not computes_in_float(vendor("c = Cast<to=10>(x)\n d = Cast<to=1>(c)\n y = GlobalAveragePool(d)"))


# --- too coarse ------------------------------------------------------------------------------------------------------

DYNAMIC = """t = Mul(x, gain)
p = GlobalAveragePool(t)
f = Flatten(p)
q, s, z = DynamicQuantizeLinear(f)
m = MatMulInteger(q, w8, z)
c = Cast<to=1>(m)
k = Mul(s, step)
y = Mul(c, k)"""


def dynamic(largest: float) -> onnx.ModelProto:
    """One channel that no class reads, and by whose size all are quantized."""
    integers = np.random.default_rng(5).integers(-100, 100, (6, 5)).astype(np.int8)
    integers[0] = 0
    gain = np.array([largest, 1, 1, 1, 1, 1], np.float32).reshape(1, 6, 1, 1)
    return text_model(DYNAMIC, init={"gain": gain, "w8": integers, "step": np.array(0.01, np.float32)})


def test_a_head_that_rounds_too_coarsely_is_refused_with_its_figures() -> None:
    rewrite(dynamic(1.0), write=False)
    with pytest.raises(UnsupportedHeadError) as caught:
        rewrite(dynamic(1000.0), write=False)
    refusal = caught.value.refusal
    assert (refusal.code, caught.value.exit_code) == ("quantized-too-coarse", 3)
    assert "differs from its logits by" in refusal.message
    assert "its scales are found at run time, and 5e-02 is allowed" in refusal.message


def test_a_head_whose_pooled_numbers_all_round_to_nothing_is_refused() -> None:
    """A scale of 5000 for numbers about 1: the bound that follows is wide, and the logits are the bias alone."""
    body = (
        "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n q = QuantizeLinear(f, s, z)\n d = DequantizeLinear(q, s, z)\n"
        " y = Gemm<transB=1>(d, w, b)"
    )
    init = {"s": np.float32(5000), "z": np.int8(0), "w": weights(5, 6), "b": weights(5) / 1000}
    with pytest.raises(UnsupportedHeadError) as caught:
        rewrite(text_model(body, init=init), write=False)
    assert caught.value.refusal.code == "quantized-too-coarse"


def test_scales_that_are_fixed_are_not_said_to_be_found_at_run_time() -> None:
    """Behind an activation no bound follows from them."""
    body = (
        "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n q = QuantizeLinear(f, s, z)\n d = DequantizeLinear(q, s, z)\n"
        " r = Relu(d)\n y = Gemm<transB=1>(r, w)"
    )
    init = {"s": np.float32(0.4), "z": np.int8(0), "w": weights(5, 6)}
    with pytest.raises(UnsupportedHeadError) as caught:
        rewrite(text_model(body, init=init), write=False)
    assert caught.value.refusal.code == "quantized-too-coarse"
    assert "no bound follows from its scales, and 5e-02 is allowed" in caught.value.refusal.message


def test_a_head_in_integers_that_answers_no_numbers_is_not_called_coarse() -> None:
    """Without a finite logit no residual was measured."""
    body = (
        "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n q = QuantizeLinear(f, s, z)\n d = DequantizeLinear(q, s, z)\n"
        " y = Gemm<transB=1>(d, w, b)"
    )
    init = {"s": np.float32(0.01), "z": np.int8(0), "w": weights(5, 6), "b": np.full(5, np.nan, np.float32)}
    with pytest.raises(ModelError, match="answers no numbers"):
        rewrite(text_model(body, init=init), write=False)
