"""The proof must fail where something is wrong, and say what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.proof.report import ProofError
from onnx_gapmil.rewriting.proof.whole_model import prove
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite, verify
from onnx_gapmil.show.terminal.rewrite_note import proof_note
from tests.helpers.support import images, text_model, weights

SQUARE = {"w": weights(6, 6), "b": weights(6)}
BODY = "p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"


def vendor() -> onnx.ModelProto:
    return text_model(BODY, y="float[N,6] y", init=SQUARE)


def conv(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == "Conv")


def replace_weight(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def transposed_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(SQUARE["w"].T.reshape(6, 6, 1, 1).copy(), "turned"))
    conv(model).input[1] = "turned"


def dropped_bias(model: onnx.ModelProto) -> None:
    del conv(model).input[2]


def one_class_shifted(model: onnx.ModelProto) -> None:
    bias = SQUARE["b"].copy()
    bias[3] += 0.01
    model.graph.initializer.append(numpy_helper.from_array(bias, "shifted"))
    conv(model).input[2] = "shifted"


def scaled_features(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1.001), "factor"))
    place = next(place for place, node in enumerate(model.graph.node) if node.op_type == "Conv")
    model.graph.node.insert(place, onnx.helper.make_node("Mul", ["x", "factor"], ["scaled"]))
    conv(model).input[0] = "scaled"


def rolled_classes(model: onnx.ModelProto) -> None:
    """The wrong axis: classes in another order."""
    model.graph.initializer.append(numpy_helper.from_array(np.roll(np.arange(6), 1), "order"))
    node = next(node for node in model.graph.node if node.output[0] == "gapmil_grid")
    node.op_type, source = "Gather", node.input[0]
    del node.input[:]
    node.input.extend([source, "order"])
    node.attribute.append(onnx.helper.make_attribute("axis", 1))


def nan_in_the_grid(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.full(6, np.nan, np.float32), "nan"))
    conv(model).input[2] = "nan"


@pytest.mark.parametrize(
    "damage", [transposed_weight, dropped_bias, one_class_shifted, scaled_features, rolled_classes, nan_in_the_grid]
)
def test_wrong_grid_fails(damage: Callable[[onnx.ModelProto], None]) -> None:
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(rewrite_model(vendor()).model)
    damage(rewritten)
    report = verify(vendor(), rewritten)
    assert not report.passed
    assert report.originals_unchanged
    reason, *more = report.reasons()
    assert "mean over cells differs from the logits" in reason
    assert "'y'" in reason
    assert all("the head's own answer to cell" in other for other in more), "the sum is said once"
    assert report.to_json()["passed"] is False


def test_undamaged_model_passes_and_says_what_it_ran() -> None:
    report = verify(vendor(), rewrite_model(vendor()).model)
    assert report.passed
    assert report.reasons() == []
    assert [trial.inputs for trial in report.trials] == [
        "random (3, 6, 3, 5): normal, three times, 0 to 255",
        "random (1, 6, 3, 5)",
    ]
    assert report.residual("y") < report.tolerance["y"] == 2e-5
    assert report.provider in ("cpu", "cuda")
    first, second = (report.nodes[which] for which in ("original", "rewritten"))
    assert sum(first.values()) < sum(second.values())
    assert report.to_json()["nodes"] == report.nodes


def test_the_note_names_the_providers_that_share_a_graph() -> None:
    report = verify(vendor(), rewrite_model(vendor()).model)
    shared = replace(
        report, provider="cuda", nodes={"rewritten": {"CUDAExecutionProvider": 9, "CPUExecutionProvider": 1}}
    )
    assert "2 inputs on cuda (nodes: 9 CUDAExecutionProvider, 1 CPUExecutionProvider)" in proof_note(shared).plain
    alone = replace(report, provider="cpu", nodes={"rewritten": {"CPUExecutionProvider": 10}})
    assert "2 inputs on cpu: original" in proof_note(alone).plain


def test_changed_original_weight_fails_by_the_outputs() -> None:
    """The grid fits the changed weight, so only the comparison with the original can tell."""
    rewritten = rewrite_model(vendor()).model
    replace_weight(rewritten, "w", SQUARE["w"] * np.float32(1.01))
    report = verify(vendor(), rewritten)
    assert not report.passed
    assert not report.originals_unchanged
    assert "an original output changed" in report.reasons()[0]
    assert len(report.reasons()) == 1


def test_smallest_change_of_an_output_fails_without_optimization() -> None:
    rewritten = rewrite_model(vendor()).model
    bias = SQUARE["b"].copy()
    bias[0] = np.nextafter(bias[0], np.float32(10))
    replace_weight(rewritten, "b", bias)
    found = rewrite_model(vendor())
    report = prove(load_model(vendor()), rewritten, found.heads)
    assert report.outputs_tolerance == 0
    assert not report.originals_unchanged


def test_missing_original_output() -> None:
    rewritten = rewrite_model(vendor()).model
    del rewritten.graph.output[0]
    with pytest.raises(ModelError, match="lacks the output 'y'"):
        verify(vendor(), rewritten)


def test_given_inputs_are_run_too() -> None:
    model = vendor()
    report = verify(model, rewrite_model(model).model, batches=[("cat.png", images(model, batch=2))])
    assert report.trials[0].inputs == "cat.png"
    assert len(report.trials) == 3


def test_given_input_of_the_wrong_shape_is_skipped_aloud() -> None:
    model = vendor()
    report = verify(model, rewrite_model(model).model, batches=[("odd.png", np.ones((1, 5, 3, 5), np.float32))])
    assert "odd.png" in report.skipped[0]
    assert report.passed


def test_two_sizes_are_proved_where_height_and_width_are_open() -> None:
    model = text_model(BODY, x="float[N,3,H,W] x", y="float[N,6] y", init=SQUARE | {"w": weights(6, 3)})
    report = rewrite(model).proof
    assert report is not None
    assert [trial.inputs for trial in report.trials] == [
        "random (3, 3, 224, 224): normal, three times, 0 to 255",
        "random (1, 3, 256, 320)",
    ]


def test_window_that_fits_one_size_only_is_caught_by_the_second_size() -> None:
    """A 7x7 kernel covers a 7x7 map; at the other size it drops cells or the head does not fit."""
    model = text_model(
        "k = Conv<strides=[32, 32], kernel_shape=[32, 32]>(x, c)\n"
        " p = AveragePool<kernel_shape=[7, 7], strides=[7, 7]>(k)\n"
        " f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)",
        x="float[N,3,H,W] x",
        y="float[N,6] y",
        init=SQUARE | {"c": weights(6, 3, 32, 32)},
    )
    with pytest.raises(ProofError) as caught:
        rewrite(model)
    assert not caught.value.report.passed


# --- emissions ------------------------------------------------------------------------------------------------------

EMIT = "argmax,certainty,peaks,topk:3,classes:4,1,scores:max,mean,noisy_or,median"
OUTPUTS = [
    "argmax", "certainty", "peaks", "topk_classes", "topk_grid", "classes_grid",
    "scores_max", "scores_mean", "scores_noisy_or", "scores_median",
]  # fmt: skip


def redirected(model: onnx.ModelProto, output: str, change: Callable[[str], onnx.NodeProto]) -> None:
    """Put a node between an output and what it was made of."""
    node = next(node for node in model.graph.node if node.output[0] == f"gapmil_{output}")
    made = change(node.input[0])
    node.input[0] = made.output[0]
    place = list(model.graph.node).index(node)
    model.graph.node.insert(place, made)


@pytest.mark.parametrize("output", OUTPUTS)
def test_wrong_emission_fails_and_is_named(output: str) -> None:
    """Images exchanged, or the sign: shapes and types stay what they are."""
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(rewrite_model(vendor(), emit=EMIT).model)
    rewritten.graph.initializer.append(numpy_helper.from_array(np.array([2, 0, 1]), "images"))
    rewritten.graph.initializer.append(numpy_helper.from_array(np.float32(1.001), "factor"))
    if output in ("argmax", "peaks", "topk_classes"):
        redirected(rewritten, output, lambda name: onnx.helper.make_node("Gather", [name, "images"], ["w_"], axis=0))
    else:
        redirected(rewritten, output, lambda name: onnx.helper.make_node("Mul", [name, "factor"], ["w_"]))
    report = verify(vendor(), rewritten, batches=[("photos", images(vendor()))])
    assert not report.passed
    assert any(f"'gapmil_{output}' differs from the same of the whole grid" in reason for reason in report.reasons())
    assert report.emission(f"gapmil_{output}") > 1e-4
    assert report.residual("y") < 2e-5
