"""A rewritten file's record is a claim: what is not so is refused, before anything is drawn or said from it."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from onnx_gapmil import Classifier, GridSession, ModelError, ProofError, inspect, rewrite, verify
from onnx_gapmil.graph import trace as tracing
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.rewriting import claim
from onnx_gapmil.rewriting.rewriter import claimed_heads, rewrite_model
from onnx_gapmil.rewriting.same_nodes import same_tensors
from tests.helpers.support import text_model, weights
from tests.helpers.verbs import run

POOL = "a = Conv(x, c)\n k = Relu(a)\n p = GlobalAveragePool(k)\n f = Flatten(p)"
INIT = {"c": weights(6, 3, 1, 1), "w": weights(5, 6), "b": weights(5)}
EXACT = f"{POOL}\n z = Gemm<transB=1>(f, w, b)\n y = Softmax<axis=1>(z)"
CONDITIONAL = f"{POOL}\n r = Relu(f)\n s = Sub(r, f)\n t = Tanh(s)\n y = Gemm<transB=1>(t, w, b)"

Forger = Callable[[onnx.ModelProto], None]


def rewritten(body: str = EXACT, emit: str | None = None) -> onnx.ModelProto:
    made = text_model(body, x="float[N,3,8,8] x", init=INIT)
    return rewrite(made, write=False, emit=emit).model


def record(model: onnx.ModelProto, **changes: Any) -> None:
    """Change what the first head's record says."""
    entry = next(entry for entry in model.metadata_props if entry.key == "gapmil.heads")
    heads = json.loads(entry.value)
    heads[0] |= changes
    entry.value = json.dumps(heads)


def _heads_of(model: onnx.ModelProto) -> str:
    return next(entry.value for entry in model.metadata_props if entry.key == "gapmil.heads")


def fold_weights(model: onnx.ModelProto) -> None:
    """What a tool may do: the appended weights are a constant, and the numbers are the same."""
    node = next(node for node in model.graph.node if node.op_type == "Conv" and "c" not in node.input)
    model.graph.initializer.append(numpy_helper.from_array(INIT["w"][:, :, None, None], "folded"))
    node.input[1] = "folded"


def maker(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if name in node.output)


def random_conv_as_grid(model: onnx.ModelProto) -> None:
    kernel = numpy_helper.from_array(weights(5, 6, 1, 1, seed=8), "forged")
    model.graph.initializer.append(kernel)
    maker(model, "gapmil_grid").CopyFrom(onnx.helper.make_node("Conv", ["k", "forged"], ["gapmil_grid"]))


def turned_grid(model: onnx.ModelProto) -> None:
    """The mean stays what it is, and every cell is elsewhere."""
    node = maker(model, "gapmil_grid")
    node.CopyFrom(onnx.helper.make_node("Transpose", [node.input[0]], ["gapmil_grid"], perm=[0, 1, 3, 2]))


def other_constant(model: onnx.ModelProto) -> None:
    """The vendor's bias in the appended convolution is another one."""
    model.graph.initializer.append(numpy_helper.from_array(weights(5, seed=3), "forged"))
    node = next(node for node in model.graph.node if node.op_type == "Conv" and "b" in node.input)
    node.input[2] = "forged"


def other_features(model: onnx.ModelProto) -> None:
    maker(model, "gapmil_features").input[0] = "a"


def logits_are_the_output(model: onnx.ModelProto) -> None:
    record(model, logits="y")


def moved_places(model: onnx.ModelProto, **axis: float) -> None:
    """Cells that look elsewhere: the file says 0.5 and 1 for its 8 pixels."""
    axes = {"first": 0.5, "step": 1.0}
    record(model, places={"known": True, "input": "x", "rows": axes, "columns": axes | axis})


def other_axes(model: onnx.ModelProto, **axes: dict[str, float] | None) -> None:
    """Some axes have other places, or none."""
    true = {"first": 0.5, "step": 1.0}
    places = {"rows": true, "columns": true} | axes
    known = {name: axis for name, axis in places.items() if axis is not None}
    record(model, places={"known": True, "input": "x", **known})


FORGERS = [
    pytest.param(random_conv_as_grid, id="random_conv"),
    pytest.param(turned_grid, id="turned_grid"),
    pytest.param(other_constant, id="other_constant"),
    pytest.param(other_features, id="other_features"),
    pytest.param(logits_are_the_output, id="a_vendors_output_as_logits"),
    pytest.param(lambda model: moved_places(model, first=1.0), id="places_half_a_cell_off"),
    pytest.param(lambda model: moved_places(model, step=2.0), id="places_twice_as_wide"),
    pytest.param(lambda model: moved_places(model, first=float("nan")), id="places_nowhere"),
    pytest.param(lambda model: other_axes(model, rows=None), id="no_rows"),
    pytest.param(lambda model: other_axes(model, columns=None), id="no_columns"),
    pytest.param(lambda model: record(model, grid="gapmil_features"), id="features_as_grid"),
    pytest.param(lambda model: record(model, verdict="conditional"), id="verdict"),
    pytest.param(lambda model: record(model, activation="sigmoid"), id="activation"),
    pytest.param(lambda model: record(model, position_dependent=True), id="position_dependent"),
    pytest.param(lambda model: record(model, output="other", outputs=["other"]), id="another_output"),
    pytest.param(lambda model: record(model, grid_shape=["N", 9, 8, 8]), id="classes"),
]


@pytest.mark.parametrize("forge", FORGERS)
def test_a_forged_file_is_refused_everywhere(forge: Forger, tmp_path: Path) -> None:
    model = rewritten()
    forge(model)
    path = tmp_path / "forged.onnx"
    onnx.save(model, path)
    for use in (inspect, rewrite, GridSession, Classifier):
        with pytest.raises(ProofError, match="its record of lifted heads does not hold") as caught:
            use(path)
        assert caught.value.exit_code == 1
    onnx.save(text_model(EXACT, x="float[N,3,8,8] x", init=INIT), tmp_path / "vendor.onnx")
    try:
        passed = verify(tmp_path / "vendor.onnx", path).passed
    except ProofError:
        passed = False
    assert not passed


@pytest.mark.parametrize("verb", ["inspect", "rewrite", "predict", "audit"])
def test_the_command_line_says_it_in_one_sentence_and_draws_nothing(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = rewritten()
    random_conv_as_grid(model)
    onnx.save(model, tmp_path / "forged.onnx")
    for name in ("red", "blue"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / name / "photo.png")
    given = {"predict": [tmp_path / "data/red/photo.png"], "audit": [tmp_path / "data"]}.get(verb, [])
    written = ["-o", tmp_path / "out"] if given else []
    assert run(verb, tmp_path / "forged.onnx", *given, *written) == 1
    said = capsys.readouterr()
    assert "its record of lifted heads does not hold" in " ".join(said.err.split())
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def test_a_conditional_head_said_to_be_exact_is_refused() -> None:
    model = rewritten(CONDITIONAL)
    record(model, verdict="exact")
    with pytest.raises(ProofError, match="it says that the verdict of 'y' is 'exact', and it is 'conditional'"):
        rewrite_model(model)


#: Only nodes of its middle tell the two apart: those behind are what they were.
CHAIN = f"{POOL[: POOL.rindex(chr(10))]}\n m = Mul(p, p)\n s = Sub(p, m)\n n = Neg(s)\n f = Flatten(n)\n"


@pytest.mark.parametrize(("op", "other"), [("Neg", "Abs"), ("Mul", "Max"), ("Sub", "Max")])
def test_another_node_deep_in_what_was_appended_is_found(op: str, other: str) -> None:
    model = rewritten(f"{CHAIN} y = Gemm<transB=1>(f, w, b)")
    next(node for node in model.graph.node if node.op_type == op and node.name.startswith("gapmil/")).op_type = other
    with pytest.raises(ProofError, match="its record of lifted heads does not hold"):
        claimed_heads(load_model(model))


def test_other_numbers_in_a_constant_of_the_same_name_are_found() -> None:
    model = rewritten()
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if tensor.name == "b":
            tensor.CopyFrom(numpy_helper.from_array(INIT["b"] + 1, "b"))
    assert same_tensors(model, model, [("gapmil_grid", "gapmil_grid")])
    assert not same_tensors(model, changed, [("gapmil_grid", "gapmil_grid")])


BENT = f"{POOL}\n t = Tanh(f)\n y = Gemm<transB=1>(t, w, b)"


@pytest.mark.parametrize(("readout", "forge"), [("contribution", turned_grid), ("instance", random_conv_as_grid)])
def test_cells_of_a_conditional_head_that_are_others_are_refused(readout: Any, forge: Forger, tmp_path: Path) -> None:
    """Its mean is what it was, or is held against nothing: the map itself is."""
    vendor = text_model(BENT, x="float[N,3,8,8] x", init=INIT)
    model = rewrite(vendor, write=False, readout=readout).model
    forge(model)
    with pytest.raises(ProofError, match="'gapmil_grid' is not what lifting the head of 'y' gives"):
        claimed_heads(load_model(model))
    onnx.save(vendor, tmp_path / "vendor.onnx")
    onnx.save(model, tmp_path / "forged.onnx")
    with pytest.raises(ProofError):
        verify(tmp_path / "vendor.onnx", tmp_path / "forged.onnx")


def test_what_rounding_explains_is_not_what_the_file_says(tmp_path: Path) -> None:
    """With a large enough bound every grid would be the rounded one."""
    init = {**INIT, "scale": np.array(0.01, np.float32), "zero": np.array(0, np.int8)}
    end = "q = QuantizeLinear(t, scale, zero)\n d = DequantizeLinear(q, scale, zero)\n y = Gemm<transB=1>(d, w, b)"
    vendor = text_model(BENT[: BENT.rindex("\n")] + f"\n {end}", x="float[N,3,8,8] x", init=init)
    model = rewrite(vendor, write=False).model
    model.graph.initializer.append(numpy_helper.from_array(np.array(-3, np.float32), "forged"))
    node = maker(model, "gapmil_grid")
    node.CopyFrom(onnx.helper.make_node("Mul", [node.input[0], "forged"], ["gapmil_grid"]))
    record(model, rounding_bound=1e9)
    with pytest.raises(ProofError, match=r"than the 0\.0"):
        claimed_heads(load_model(model))
    onnx.save(vendor, tmp_path / "vendor.onnx")
    onnx.save(model, tmp_path / "forged.onnx")
    assert not verify(tmp_path / "vendor.onnx", tmp_path / "forged.onnx").passed


#: What an entry of a record may be forged to; a value of the same JSON type that is not so.
OTHER: dict[str, Any] = {
    "verdict": "conditional",
    "readout": "instance",
    "attachment": "shadow",
    "activation": "none",
    "class_token": True,
    "class_token_lift": "direct",
    "places": {"known": True, "input": "x", "rows": {"first": 9.0, "step": 1.0}},
    "chain": [],
    "feature_grids": [],
    "as_deployed": {"passed": True, "measure": 0.0},
    "scores": {"max": "gapmil_grid"},
    "topk": {"k": 3, "classes": "gapmil_topk_classes", "grid": "gapmil_topk_grid"},
    "classes": {"indices": [1, 2], "grid": "gapmil_classes_grid"},
    "grid_shape": ["N", 5, 4, 16],
    "features_of": ["y"],
    "outputs": ["other"],
    "placeless_share": 0.25,
    "rounding_bound": 9.0,
    "residual": 0.25,
}


def forged_value(key: str, value: Any) -> Any:
    if key in OTHER:
        return OTHER[key]
    if isinstance(value, bool):
        return not value
    return "gapmil_features" if key == "grid" else "forged" if isinstance(value, str) else "gapmil_grid"


EVERY_OUTPUT = "features,grid,topk:2,classes:4,0,argmax,scores:lse=10"
#: Both readouts of an exact head are the same, and of a model without int8 all attachments; they are forged below.
WRITTEN = sorted(json.loads(_heads_of(rewritten(EXACT, EVERY_OUTPUT)))[0].keys() - {"readout", "attachment"})


@pytest.mark.parametrize("changed", [False, True], ids=["same nodes", "other nodes"])
@pytest.mark.parametrize("field", WRITTEN)
def test_no_field_of_a_record_is_believed(field: str, changed: bool, tmp_path: Path) -> None:
    """Whatever a record says: it is refused, or what is said is found anew. A new field is forged here by itself."""
    vendor = text_model(EXACT, x="float[N,3,8,8] x", init=INIT)
    model = rewrite(vendor, write=False, emit=EVERY_OUTPUT).model
    if changed:  # as a tool leaves it
        fold_weights(model)
    (honest,) = claimed_heads(load_model(model))
    value = json.loads(_heads_of(model))[0][field]
    other = forged_value(field, value)
    assert other != value
    record(model, **{field: other})
    onnx.save(model, tmp_path / "forged.onnx")
    onnx.save(vendor, tmp_path / "vendor.onnx")
    try:
        (head,) = claimed_heads(load_model(tmp_path / "forged.onnx"))
    except (ProofError, ModelError):
        try:
            passed = verify(tmp_path / "vendor.onnx", tmp_path / "forged.onnx").passed
        except (ProofError, ModelError):
            passed = False
        assert not passed
    else:
        measured = dict.fromkeys(claim.MEASURED)
        assert replace(head, **measured) == replace(honest, **measured)
        assert (
            field == "class_token" or getattr(head, field) != other
        )  # a flag that repeats class_token_lift is not read


@pytest.mark.parametrize(("true", "other"), [("contribution", "instance"), ("instance", "contribution")])
def test_the_other_readout_of_a_conditional_head_is_refused(true: Any, other: str) -> None:
    model = rewrite(text_model(BENT, x="float[N,3,8,8] x", init=INIT), write=False, readout=true).model
    record(model, readout=other)
    with pytest.raises(ProofError):
        claimed_heads(load_model(model))


def test_an_attachment_that_is_not_the_files_is_refused() -> None:
    model = rewrite(text_model(BENT, x="float[N,3,8,8] x", init=INIT), write=False).model
    record(model, attachment="named")
    with pytest.raises(ProofError, match="its nodes are attached by 'named', and they are by 'plain'"):
        claimed_heads(load_model(model))


def noisy_grid(model: onnx.ModelProto) -> None:
    """Every cell is another and the mean stays what it is, whatever the size of the map's noise."""
    node = maker(model, "gapmil_grid")
    inner = node.input[0]
    model.graph.node.remove(node)
    noise = weights(8, 8, seed=4)
    model.graph.initializer.append(
        numpy_helper.from_array(noise - noise.mean(dtype=np.float64).astype(np.float32), "noise")
    )
    model.graph.node.append(onnx.helper.make_node("Add", [inner, "noise"], ["gapmil_grid"]))


@pytest.mark.parametrize("body", [EXACT, BENT], ids=["exact", "conditional"])
@pytest.mark.parametrize("forge", [noisy_grid, turned_grid, other_features])
def test_a_file_above_the_size_that_is_run_is_held_against_its_lift_too(
    body: str, forge: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trunk is not run: its own head is, cut out, and not that of the lift alone."""
    monkeypatch.setattr(tracing, "MAX_TRACED_BYTES", -1)
    model = rewritten(body)
    fold_weights(model)
    assert claimed_heads(load_model(model))
    forge(model)
    with pytest.raises(ProofError, match="is not what lifting the head of 'y' gives"):
        claimed_heads(load_model(model))


@pytest.mark.parametrize("field", ["note", "rounding_bound", "grid_shape", "chain", "feature_grids"])
def test_a_part_of_a_record_that_is_not_so_fails(field: str) -> None:
    model = rewritten()
    entry = json.loads(_heads_of(model))[0]
    parts = {
        "note": "cells are where you like",
        "rounding_bound": 0.5,
        "grid_shape": ["N", 5, 8, 9],
        "chain": entry["chain"][:1],
        "feature_grids": [entry["feature_grids"][0] | {"note": "tokens"}],
    }
    record(model, **{field: parts[field]})
    with pytest.raises(ProofError, match="its record of lifted heads does not hold"):
        claimed_heads(load_model(model))


@pytest.mark.parametrize("body", [EXACT, CONDITIONAL])
@pytest.mark.parametrize("emit", [None, "topk:2,argmax", "features,scores:max,lse=10", "classes:4,0,grid"])
def test_an_honest_file_is_not_run(body: str, emit: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rewrite(text_model(body, x="float[N,3,8,8] x", init=INIT), write=False, emit=emit)
    monkeypatch.setattr("onnx_gapmil.rewriting.claim.prove", pytest.fail)
    again = rewrite_model(made.model)
    assert again.unchanged
    not_measured = dict.fromkeys(claim.MEASURED)
    assert again.heads == tuple(replace(head, **not_measured) for head in made.heads)


def test_a_file_that_a_tool_has_changed_is_proved_by_numbers() -> None:
    """Weights folded, names changed: the nodes are others, and the numbers are the same."""
    model = rewritten()
    fold_weights(model)
    (head,) = claimed_heads(load_model(model))
    assert head.verdict == "exact"


def test_an_older_record_without_its_chain_is_proved_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    model = rewritten()
    entry = next(entry for entry in model.metadata_props if entry.key == "gapmil.heads")
    old = {key: value for key, value in json.loads(entry.value)[0].items() if key not in ("chain", "feature_grids")}
    entry.value = json.dumps([old])
    ran = []
    real = claim.prove
    monkeypatch.setattr(claim, "prove", lambda *given, **options: (ran.append(1), real(*given, **options))[1])
    assert claimed_heads(load_model(model))[0].verdict == "exact"
    assert ran == [1]
    turned_grid(model)
    with pytest.raises(ProofError):
        claimed_heads(load_model(model))


def test_a_head_that_is_refused_now_is_not_drawn_from() -> None:
    """A file of a version that lifted what this one refuses."""
    model = rewritten()
    extra = onnx.helper.make_node("RandomUniformLike", ["f"], ["noise"])
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    gemm.input[0] = "noisy"
    place = list(model.graph.node).index(gemm)
    nodes = list(model.graph.node)
    nodes[place:place] = [extra, onnx.helper.make_node("Add", ["f", "noise"], ["noisy"])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(ProofError, match="random-head"):
        rewrite_model(model)


def test_maps_that_could_not_be_compared_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older record has no chain, so that numbers decide; where nothing runs, nothing is known."""
    older = rewritten()
    record(older, chain=[])
    assert claimed_heads(load_model(older))
    monkeypatch.setattr(claim, "proof_inputs", lambda *_: iter(()))
    with pytest.raises(ProofError, match="run on none of the inputs that were tried"):
        claimed_heads(load_model(older))


def test_every_axis_that_places_have_is_held_against_what_is_found() -> None:
    """Whatever fields places have, of images, volumes or clips: a wrong or an absent one agrees with nothing."""
    axis = AxisPlaces(4.0, 8.0)
    kinds = typing.get_type_hints(Places)
    names = [entry.name for entry in fields(Places) if AxisPlaces in typing.get_args(kinds[entry.name])]
    assert {"rows", "columns"} <= set(names)
    true = Places(True, "x", **dict.fromkeys(names, axis))
    assert claim._agree(true, true)
    assert claim._agree(replace(true, measured={"rows": {"slope": 1.0}}), true)
    for name in names:
        for wrong in (AxisPlaces(4.1, 8.0), AxisPlaces(4.0, 8.1), None):
            moved = replace(true, **{name: wrong})
            assert not claim._agree(moved, true), name
            assert not claim._agree(true, moved), name
    assert not claim._agree(replace(true, input="z"), true)
    assert not claim._agree(Places.unknown("nobody looked"), true)
