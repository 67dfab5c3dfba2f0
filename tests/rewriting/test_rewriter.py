"""Rewriting: the vendor's model stays as it is, and something is appended."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import images, run, text_model, weights

W, B = weights(5, 6), weights(5)
INIT = {"w": W, "b": B}
BODY = "p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"


def vendor() -> onnx.ModelProto:
    """A model with everything that a careless rewrite loses."""
    model = text_model(BODY, init=INIT)
    model.producer_name, model.producer_version, model.domain = "vendor", "3.1", "com.vendor"
    model.model_version = 42
    model.doc_string = "Trained on everything."
    model.graph.doc_string = "The graph."
    model.metadata_props.add(key="licence", value="none of your business")
    for place, node in enumerate(model.graph.node):
        node.name = f"layer_{place}"
        node.doc_string = f"made by line {place}"
        node.metadata_props.add(key="scope", value="head")
    model.graph.initializer[0].doc_string = "the weights"
    model.graph.input[0].doc_string = "RGB"
    model.graph.output[0].doc_string = "scores"
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("f", 1, ["N", 6]))
    annotation = model.graph.quantization_annotation.add(tensor_name="w")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="b")
    return model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(vendor(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


# --- the vendor's part ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field", ["ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string", "functions"]
)
def test_model_field_is_unchanged(field: str) -> None:
    model = vendor()
    assert getattr(rewrite_model(model).model, field) == getattr(model, field)


@pytest.mark.parametrize(
    "field", ["node", "initializer", "input", "output", "value_info", "sparse_initializer", "quantization_annotation"]
)
def test_graph_field_starts_with_the_vendors(field: str) -> None:
    model = vendor()
    before, after = getattr(model.graph, field), getattr(rewrite_model(model).model.graph, field)
    assert [entry.SerializeToString() for entry in after][: len(before)] == [
        entry.SerializeToString() for entry in before
    ]


@pytest.mark.parametrize("field", ["input", "value_info", "sparse_initializer", "quantization_annotation"])
def test_graph_field_gets_nothing_new(field: str) -> None:
    model = vendor()
    assert len(getattr(rewrite_model(model).model.graph, field)) == len(getattr(model.graph, field))


def test_graph_name_operator_sets_and_metadata_stay() -> None:
    model = vendor()
    new = rewrite_model(model).model
    assert new.graph.name == model.graph.name
    assert new.graph.doc_string == model.graph.doc_string
    assert list(new.opset_import) == list(model.opset_import)
    assert list(new.metadata_props)[:1] == list(model.metadata_props)


def test_argument_is_not_changed() -> None:
    model = vendor()
    before = model.SerializeToString()
    rewrite_model(model)
    rewrite(model)
    assert model.SerializeToString() == before


def test_weights_are_shared_and_not_copied() -> None:
    new = rewrite_model(vendor()).model
    added = list(new.graph.initializer)[2:]
    assert sum(tensor.ByteSize() for tensor in added) < 200
    assert sum("w" in node.input for node in new.graph.node) == 2


def test_file_grows_by_less_than_a_hundredth() -> None:
    model = text_model(
        BODY.replace("x)", "k)").replace("p =", "k = Conv(x, c)\n p =", 1),
        x="float[N,3,32,32] x",
        y="float[N,1000] y",
        init={"w": weights(1000, 1024), "b": weights(1000), "c": weights(1024, 3, 8, 8)},
    )
    assert model.ByteSize() > 4_500_000
    assert rewrite_model(model).model.ByteSize() < 1.01 * model.ByteSize()


# --- what is new ----------------------------------------------------------------------------------------------------


def test_new_outputs_follow_the_original_ones() -> None:
    found = rewrite_model(vendor())
    assert [value.name for value in found.model.graph.output] == [
        "y",
        "gapmil_logits",
        "gapmil_features",
        "gapmil_grid",
    ]
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in found.model.graph.output
    ]
    assert shapes == [["N", 5], ["N", 5], ["N", 6, 3, 5], ["N", 5, 3, 5]]


EVERYTHING = "features,grid,argmax,certainty,peaks,topk:2,classes:4,0,1,scores:max,lse=10"


def test_every_emission_is_declared_with_its_shape_and_type() -> None:
    found = rewrite_model(vendor(), emit=EVERYTHING)
    declared = {
        value.name: (
            value.type.tensor_type.elem_type,
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for value in found.model.graph.output
    }
    assert declared == {
        "y": (1, ["N", 5]),
        "gapmil_logits": (1, ["N", 5]),
        "gapmil_features": (1, ["N", 6, 3, 5]),
        "gapmil_grid": (1, ["N", 5, 3, 5]),
        "gapmil_argmax": (7, ["N", 3, 5]),
        "gapmil_certainty": (1, ["N", 3, 5]),
        "gapmil_peaks": (7, ["N", 5]),
        "gapmil_topk_classes": (7, ["N", 2]),
        "gapmil_topk_grid": (1, ["N", 2, 3, 5]),
        "gapmil_classes_grid": (1, ["N", 3, 3, 5]),
        "gapmil_scores_max": (1, ["N", 5]),
        "gapmil_scores_lse=10": (1, ["N", 5]),
    }
    onnx.checker.check_model(found.model, full_check=True)
    for name, array in zip(declared, run(found.model, images(vendor())), strict=True):
        assert list(array.shape[1:]) == declared[name][1][1:]
        assert onnx.helper.np_dtype_to_tensor_dtype(array.dtype) == declared[name][0]


@pytest.mark.parametrize(
    ("emit", "operators"),
    [
        ("logits", ["Identity"]),
        ("scores:mean", ["Identity", "Identity"]),
        ("features", ["Identity", "Identity"]),
        ("grid", ["Conv", "Identity", "Identity", "Reshape"]),
        ("argmax", ["ArgMax", "Conv", "Identity", "Identity", "Reshape"]),
        ("scores:max", ["Conv", "Identity", "Identity", "ReduceMax", "Reshape", "Reshape"]),
    ],
)
def test_what_is_not_asked_for_is_not_in_the_graph(emit: str, operators: list[str]) -> None:
    model = vendor()
    added = list(rewrite_model(model, emit=emit).model.graph.node)[len(model.graph.node) :]
    assert sorted(node.op_type for node in added) == operators


def test_emissions_are_recorded_in_the_metadata_and_read_back() -> None:
    found = rewrite_model(vendor(), emit="argmax,topk:2,classes:4,0,scores:lse=10")
    again = rewrite_model(found.model)
    assert again.unchanged
    assert again.heads[0].emit == found.heads[0].emit == Emit.parse("argmax,topk:2,classes:4,0,scores:lse=10")
    record = again.to_json()
    assert record["emit"] == ["argmax", "topk:2", "classes:4,0", "scores:lse=10"]
    (head,) = record["heads"]
    assert (head["grid"], head["features"], head["certainty"], head["peaks"]) == (None, None, None, None)
    assert head["grid_shape"] == ["N", 5, 3, 5]
    assert head["argmax"] == "gapmil_argmax"
    assert head["topk"] == {"classes": "gapmil_topk_classes", "grid": "gapmil_topk_grid", "k": 2}
    assert head["classes"] == {"indices": [4, 0], "grid": "gapmil_classes_grid"}
    assert head["scores"] == {"lse=10": "gapmil_scores_lse=10"}


def test_rewriting_again_with_the_same_emissions_does_nothing_and_with_others_is_an_error() -> None:
    model = rewrite_model(vendor(), emit="topk:2").model
    assert rewrite_model(model, emit="topk:2").unchanged
    with pytest.raises(ModelError, match=r"which gives topk:2; for argmax rewrite the original\."):
        rewrite(model, emit="argmax")
    with pytest.raises(ModelError, match=r"which gives features,grid; for grid rewrite the original\."):
        rewrite(rewrite_model(vendor()).model, emit="grid")


def test_more_classes_than_a_head_has_are_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match="topk:6 was asked for, and the head of 'y' has 5 classes"):
        rewrite(vendor(), emit="topk:6")
    with pytest.raises(InputError, match="class 5 was asked for, and the head of 'y' has 5 classes"):
        rewrite(vendor(), emit="classes:0,5")


def test_emissions_of_several_heads_end_in_the_outputs_name() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)\n z = Gemm<transB=1>(f, v)",
        y="float[N,5] y, float[N,3] z",
        init=INIT | {"v": weights(3, 6)},
    )
    found = rewrite_model(model, emit="topk:2,scores:max,argmax")
    names = [value.name for value in found.model.graph.output][2:]
    kinds = ["logits", "argmax", "topk_classes", "topk_grid", "scores_max"]
    assert names == [f"gapmil_{kind}_{output}" for output in "yz" for kind in kinds]
    x = images(model)
    got = dict(zip(names, run(found.model, x)[2:], strict=True))
    whole = dict(
        zip("yz", run(rewrite_model(model, emit="grid").model, x, ["gapmil_grid_y", "gapmil_grid_z"]), strict=True)
    )
    for output, grid in whole.items():
        np.testing.assert_array_equal(got[f"gapmil_argmax_{output}"], grid.argmax(axis=1))
        np.testing.assert_allclose(got[f"gapmil_scores_max_{output}"], grid.max(axis=(2, 3)), rtol=1e-6)
        expected = np.take_along_axis(grid, got[f"gapmil_topk_classes_{output}"][:, :, None, None], axis=1)
        np.testing.assert_allclose(got[f"gapmil_topk_grid_{output}"], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="the head of 'z' has 3 classes"):
        rewrite_model(model, emit="topk:4")


def test_names_that_the_vendor_has_are_avoided() -> None:
    model = text_model(BODY.replace("f", "gapmil_topk_grid"), init=INIT)
    found = rewrite_model(model, emit="topk:2")
    assert found.heads[0].topk is not None
    assert found.heads[0].topk.grid == "gapmil_topk_grid_2"


def test_scores_of_half_precision_are_float32() -> None:
    model = text_model(
        BODY,
        x="float16[N,6,3,5] x",
        y="float16[N,5] y",
        init={name: array.astype(np.float16) for name, array in INIT.items()},
    )
    found = rewrite(model, emit="grid,scores:noisy_or,mean,certainty,classes:1")
    arrays = dict(zip([v.name for v in found.model.graph.output], run(found.model, images(model)), strict=True))
    types = {name: array.dtype.name for name, array in arrays.items()}
    assert types == {
        "y": "float16",
        "gapmil_logits": "float16",
        "gapmil_grid": "float16",
        "gapmil_certainty": "float32",
        "gapmil_classes_grid": "float16",
        "gapmil_scores_noisy_or": "float32",
        "gapmil_scores_mean": "float32",
    }


def test_new_nodes_are_standard_operators_in_order() -> None:
    model = vendor()
    new = rewrite_model(model).model
    added = list(new.graph.node)[len(model.graph.node) :]
    assert {node.domain for node in added} == {""}
    assert all(node.name for node in added)
    names = [node.name for node in new.graph.node]
    assert len(set(names)) == len(names)
    onnx.checker.check_model(new, full_check=True)


@pytest.mark.parametrize("opset", [9, 13, 18, 21])
def test_reference_implementation_gives_the_same_grid(opset: int) -> None:
    """onnx's own evaluator, in plain NumPy, shares no kernel with ONNX Runtime."""
    body = (
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, v, c)\n"
        " h = Relu(z)\n y = Gemm<transB=1>(h, w, b)"
    )
    model = text_model(body, opset=opset, init=INIT | {"v": weights(6, 6), "c": weights(6)})
    new = rewrite_model(model).model
    x = images(model)
    expected = ReferenceEvaluator(new).run(None, {"x": x})
    for first, second in zip(run(new, x), expected, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_metadata_record_what_was_done() -> None:
    model = vendor()
    found = rewrite_model(model)
    metadata = {entry.key: entry.value for entry in found.model.metadata_props}
    assert metadata["gapmil.verdict"] == "exact"
    assert metadata["gapmil.source_sha256"] == found.source.sha256
    assert metadata["licence"] == "none of your business"
    (head,) = json.loads(metadata["gapmil.heads"])
    assert head == found.heads[0].to_json()
    assert head["grid"] == "gapmil_grid"


def test_report_is_json() -> None:
    report = rewrite(vendor()).to_json()
    assert json.loads(json.dumps(report)) == report
    keys = {"output", "verdict", "logits", "features", "grid", "grid_shape", "residual", "chain"}
    assert keys <= set(report["heads"][0])
    assert report["schema_version"] == 1
    assert report["originals_unchanged"] is True
    assert report["heads"][0]["residual"] < 2e-5
    assert report["refused_outputs"] == []


def test_rewriting_a_rewritten_model_does_nothing(tmp_path: Path) -> None:
    first = rewrite_model(vendor())
    again = rewrite_model(first.model)
    assert again.unchanged
    assert again.model.SerializeToString() == first.model.SerializeToString()
    assert [head.to_json() for head in again.heads] == [head.to_json() for head in first.heads]
    path = tmp_path / "once.onnx"
    path.write_bytes(first.model.SerializeToString())
    assert rewrite(path).output_path is None
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["{", "[]", "[{}]", '[{"output": "y"}]', "null", "3", '["y"]'])
def test_damaged_record_is_an_error(damage: str) -> None:
    model = rewrite_model(vendor()).model
    entry = next(entry for entry in model.metadata_props if entry.key == "gapmil.heads")
    entry.value = damage
    with pytest.raises(ModelError):
        rewrite_model(model)


def test_record_without_its_outputs_is_an_error() -> None:
    model = rewrite_model(vendor()).model
    del model.graph.output[-1]
    with pytest.raises(ModelError, match="gapmil_grid"):
        rewrite_model(model)


def test_names_that_the_file_has_already_are_left_alone() -> None:
    model = text_model(
        "gapmil_grid = GlobalAveragePool(x)\n gapmil_logits = Flatten(gapmil_grid)\n"
        " y = Gemm<transB=1>(gapmil_logits, w, b)",
        init=INIT,
    )
    found = rewrite_model(model)
    head = found.heads[0]
    assert (head.logits, head.features, head.grid) == ("gapmil_logits_2", "gapmil_features", "gapmil_grid_2")
    metadata = {entry.key: entry.value for entry in found.model.metadata_props}
    assert json.loads(metadata["gapmil.heads"])[0]["grid"] == "gapmil_grid_2"
    onnx.checker.check_model(found.model, full_check=True)
    assert rewrite(model).heads[0].residual < 2e-5


# --- several outputs ------------------------------------------------------------------------------------------------


def test_each_output_has_its_own_grid() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n breed = Gemm<transB=1>(f, w, b)\n colour = Gemm<transB=1>(f, v)",
        y="float[N,5] breed, float[N,4] colour",
        init=INIT | {"v": weights(4, 6)},
    )
    found = rewrite(model)
    assert [head.output for head in found.heads] == ["breed", "colour"]
    names = [value.name for value in found.model.graph.output][2:]
    assert names == [
        f"gapmil_{kind}_{output}" for output in ("breed", "colour") for kind in ("logits", "features", "grid")
    ]
    x = images(model)
    _, _, _, _, breed, _, _, colour = run(found.model, x)
    cells = x.astype(np.float64)
    np.testing.assert_allclose(breed, np.einsum("kc,nchw->nkhw", W, cells) + B[:, None, None], atol=1e-4)
    np.testing.assert_allclose(colour, np.einsum("kc,nchw->nkhw", weights(4, 6), cells), atol=1e-4)


def test_the_same_logits_behind_two_outputs_are_one_head() -> None:
    model = text_model(
        BODY.replace("y =", "z =") + "\n index = ArgMax<axis=1>(z)\n prob = Softmax<axis=1>(z)",
        y="int64[N,1] index, float[N,5] prob",
        init=INIT,
    )
    found = rewrite_model(model)
    (head,) = found.heads
    assert head.outputs == ("index", "prob")
    assert head.activation == "softmax"
    assert head.grid == "gapmil_grid"


def test_one_output_lifts_and_another_is_refused() -> None:
    model = text_model(
        f"{BODY}\n map = Conv(x, c)", y="float[N,5] y, float[N,2,3,5] map", init=INIT | {"c": weights(2, 6, 1, 1)}
    )
    found = rewrite_model(model)
    assert [head.output for head in found.heads] == ["y"]
    assert found.refusals["map"].code == "not-a-classifier"
    assert found.to_json()["refused_outputs"][0]["output"] == "map"


def test_refusal_of_all_outputs_leads_with_the_one_that_looks_like_scores() -> None:
    model = text_model(
        "map = Conv(x, c)\n f = Flatten(x)\n y = Gemm<transB=1>(f, v)",
        y="float[N,2,3,5] map, float[N,5] y",
        init={"c": weights(2, 6, 1, 1), "v": weights(5, 90)},
    )
    with pytest.raises(UnsupportedHeadError) as caught:
        rewrite_model(model)
    assert caught.value.refusal.code == "flatten-head"
    assert set(caught.value.refusals) == {"map", "y"}


def test_constant_output_is_left_out() -> None:
    model = text_model(f"{BODY}\n version = Identity(b)", y="float[N,5] y, float[5] version", init=INIT)
    found = rewrite(model)
    assert [head.output for head in found.heads] == ["y"]
    assert found.refusals == {}
