"""`rewrite` proves before it writes; `verify` proves what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.proof.report import ProofError
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite, verify
from tests.helpers.support import text_model, weights

SQUARE = {"w": weights(6, 6), "b": weights(6)}
BODY = "p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"
EMIT = "argmax,certainty,peaks,topk:3,classes:4,1,scores:max,mean,noisy_or,median"
OUTPUTS = [
    "argmax", "certainty", "peaks", "topk_classes", "topk_grid", "classes_grid",
    "scores_max", "scores_mean", "scores_noisy_or", "scores_median",
]  # fmt: skip


def vendor() -> onnx.ModelProto:
    return text_model(BODY, y="float[N,6] y", init=SQUARE)


def replace_weight(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(array, name))


# --- rewrite --------------------------------------------------------------------------------------------------------


def test_emissions_without_a_grid_are_proved_with_their_residual() -> None:
    found = rewrite(vendor(), emit=EMIT)
    assert found.proof is not None
    assert [value.name for value in found.model.graph.output] == [
        "y",
        "gapmil_logits",
        *(f"gapmil_{output}" for output in OUTPUTS),
    ]
    assert 0 < found.heads[0].residual < 2e-5
    assert found.proof.outputs_tolerance == 0
    assert set(found.proof.emitted) == {f"gapmil_{output}" for output in OUTPUTS}
    assert all(found.proof.emission(name) < 1e-6 for name in found.proof.emitted)
    assert set(found.proof.to_json()["emissions"]) == set(found.proof.emitted)


@pytest.mark.usefixtures("wrong_lift")
@pytest.mark.parametrize("emit", ["logits", "topk:2", "argmax"])
def test_wrong_lift_is_found_though_the_grid_is_not_written(emit: str) -> None:
    with pytest.raises(ProofError, match="mean over cells differs from the logits"):
        rewrite(vendor(), emit=emit)


@pytest.mark.usefixtures("wrong_lift")
def test_failed_proof_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(vendor(), path)
    with pytest.raises(ProofError, match="failed its proof") as caught:
        rewrite(path)
    assert caught.value.exit_code == 1
    assert caught.value.report.residual("y") > 2e-5
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("wrong_lift")
def test_failed_proof_keeps_an_earlier_file(tmp_path: Path) -> None:
    path, earlier = tmp_path / "model.onnx", tmp_path / "model.gapmil.onnx"
    onnx.save(vendor(), path)
    earlier.write_bytes(b"earlier")
    with pytest.raises(ProofError):
        rewrite(path)
    assert earlier.read_bytes() == b"earlier"


def test_instance_readout_of_a_conditional_head_is_reported_and_not_refused() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w, b)\n"
        " h = Relu(z)\n y = Gemm<transB=1>(h, w, b)",
        y="float[N,6] y",
        init=SQUARE,
    )
    found = rewrite(model, readout="instance")
    assert found.proof is not None
    assert found.proof.passed
    assert found.heads[0].residual > 1e-3
    assert found.heads[0].readout == "instance"


# --- verify ---------------------------------------------------------------------------------------------------------


def test_model_that_was_not_rewritten() -> None:
    with pytest.raises(ModelError, match="not a rewritten model"):
        verify(vendor(), vendor())


def test_verify_takes_a_file_without_a_grid(tmp_path: Path) -> None:
    onnx.save(vendor(), tmp_path / "model.onnx")
    rewrite(tmp_path / "model.onnx", emit=EMIT)
    report = verify(tmp_path / "model.onnx", tmp_path / "model.gapmil.onnx")
    assert report.passed
    assert 0 < report.residual("y") < 2e-5
    assert len(report.emitted) == len(OUTPUTS)


def test_verify_of_a_file_without_a_grid_sees_a_changed_weight() -> None:
    rewritten = rewrite_model(vendor(), emit="topk:2").model
    replace_weight(rewritten, "w", SQUARE["w"] * np.float32(1.01))
    report = verify(vendor(), rewritten)
    assert not report.originals_unchanged
    assert any("'gapmil_topk_grid' differs" in reason for reason in report.reasons())


def test_verify_of_another_models_file_without_a_grid() -> None:
    other = text_model(BODY.replace("y =", "z ="), y="float[N,6] z", init=SQUARE)
    both = rewrite_model(other, emit="topk:2").model
    both.graph.node.append(onnx.helper.make_node("Identity", ["z"], ["y"]))
    both.graph.output.append(onnx.helper.make_tensor_value_info("y", 1, ["N", 6]))
    with pytest.raises(ModelError, match="has no head of 'z', which"):
        verify(vendor(), both)


def test_verify_takes_the_readout_of_the_file() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w, b)\n"
        " h = Relu(z)\n y = Gemm<transB=1>(h, w, b)",
        y="float[N,6] y",
        init=SQUARE,
    )
    rewritten = rewrite_model(model, readout="instance", emit="topk:2,argmax").model
    report = verify(model, rewritten)
    assert report.passed
    assert report.residual("y") > 1e-3
    assert all(report.emission(name) < 2e-5 for name in report.emitted)


def test_half_precision_head_that_ends_in_a_cast_has_the_tolerance_of_half() -> None:
    model = text_model(
        "h = Cast<to=10>(x)\n p = GlobalAveragePool(h)\n f = Flatten(p)\n g = Gemm<transB=1>(f, w, b)\n"
        " y = Cast<to=1>(g)",
        y="float[N,6] y",
        init={name: array.astype(np.float16) for name, array in SQUARE.items()},
    )
    found = rewrite(model, emit="topk:2")
    assert found.proof is not None
    assert found.proof.tolerance == {"y": 5e-3}
    assert verify(model, found.model).tolerance == {"y": 5e-3}


def test_verify_takes_paths_protos_and_models_that_were_read(tmp_path: Path) -> None:
    onnx.save(vendor(), tmp_path / "m.onnx")
    path = rewrite(tmp_path / "m.onnx").output_path
    assert path is not None
    expected = verify(tmp_path / "m.onnx", path).to_json()
    assert verify(load_model(tmp_path / "m.onnx"), load_model(path)).to_json() == expected
    assert verify(vendor(), onnx.load(path)).to_json() == expected
