"""The record of a head: what is written is read back whole, older records too, damaged ones never by halves."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.lift.verdict import LiftStep
from onnx_gapmil.rewriting.claim import MEASURED
from onnx_gapmil.rewriting.emission.names import TopKOutputs
from onnx_gapmil.rewriting.inspection import inspect
from onnx_gapmil.rewriting.record import FeatureGridRecord, HeadRecord, joint_verdict, read_heads, write_heads
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.saving import save_model
from onnx_gapmil.rewriting.verbs import rewrite, verify
from onnx_gapmil.running.grid_session import GridSession
from tests.helpers.deployed import quantized as int8_network
from tests.helpers.support import text_model, weights

OUTPUTS = ["scores", "gapmil_logits", "gapmil_grid"]
#: What version 0.1.0 wrote of a head.
ENTRY = {
    "output": "scores",
    "verdict": "conditional",
    "logits": "gapmil_logits",
    "features": None,
    "grid": "gapmil_grid",
    "grid_shape": [None, 4, 2, "w"],
    "activation": "softmax",
    "readout": "instance",
    "from a later version": 1,
}

# --- a round trip through a rewritten file ---------------------------------------------------------------------------

POOL = "p = GlobalAveragePool(x)\n f = Flatten(p)"
DENSE = {"w": weights(5, 6), "b": weights(5)}


def exact() -> onnx.ModelProto:
    return text_model(f"{POOL}\n z = Gemm<transB=1>(f, w, b)\n y = Softmax<axis=1>(z)", init=DENSE)


def conditional() -> onnx.ModelProto:
    body = f"{POOL}\n h = Gemm<transB=1>(f, v)\n r = Relu(h)\n y = Gemm<transB=1>(r, w, b)"
    return text_model(body, init=DENSE | {"v": weights(6, 6)})


def quantized() -> onnx.ModelProto:
    body = f"{POOL}\n i = QuantizeLinear(f, s, o)\n d = DequantizeLinear(i, s, o)\n y = Gemm<transB=1>(d, w, b)"
    return text_model(body, init=DENSE | {"s": np.float32(0.02), "o": np.uint8(128)})


def position_dependent() -> onnx.ModelProto:
    body = "k = Conv(x, c)\n f = Flatten(k)\n y = Gemm<transB=1>(f, w, b)"
    return text_model(body, init={"c": weights(6, 6, 1, 1), "w": weights(5, 90), "b": weights(5)})


def several() -> onnx.ModelProto:
    body = (
        f"{POOL}\n z = Gemm<transB=1>(f, w, b)\n y = Sigmoid(z)\n label = ArgMax<axis=1>(z)\n t = Gemm<transB=1>(f, v)"
    )
    return text_model(body, y="float[N,5] y, int64[N,1] label, float[N,4] t", init=DENSE | {"v": weights(4, 6)})


def tokens() -> onnx.ModelProto:
    body = "p = ReduceMean<axes=[1], keepdims=0>(x)\n y = Gemm<transB=1>(p, w, b)"
    return text_model(body, x="float[N,7,6] x", init=DENSE)


def two_grids() -> onnx.ModelProto:
    body = """
      m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)
      p = GlobalAveragePool(x)  q = GlobalAveragePool(m)
      j = Add(p, q)  f = Flatten(j)  y = Gemm<transB=1>(f, w, b)
    """
    return text_model(body, x="float[N,6,8,8] x", init=DENSE)


def embedding() -> onnx.ModelProto:
    body = f"{POOL}\n y = Gemm<transB=1>(f, w, b)"
    return text_model(body, y="float[N,5] y, float[N,6] f", init=DENSE)


MODELS = {
    "exact": (exact, {}),
    "conditional": (conditional, {}),
    "instance": (conditional, {"readout": "instance"}),
    "quantized": (quantized, {}),
    "position_dependent": (position_dependent, {}),
    "several": (several, {}),
    "tokens": (tokens, {}),
    "shadow": (lambda: int8_network(np.int8), {}),
    "two_grids": (two_grids, {}),
    "features": (embedding, {}),
    "everything": (exact, {"emit": "argmax,certainty,peaks,topk:2,classes:3,1,scores:max,lse=10"}),
}


@pytest.fixture(params=MODELS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, tuple[HeadRecord, ...]]:
    """A rewritten file, and the records of the rewrite that wrote it."""
    make, options = MODELS[request.param]
    path = tmp_path / "m.onnx"
    onnx.save(make(), path)
    result = rewrite(path, **options)
    assert result.output_path is not None
    return result.output_path, result.heads


def unmeasured(heads: tuple[HeadRecord, ...]) -> tuple[HeadRecord, ...]:
    """Without what the run that wrote the file measured: nobody who opens it knows whether that is so."""
    return tuple(replace(head, **dict.fromkeys(MEASURED)) for head in heads)


def test_the_record_is_read_back_whole(written: tuple[Path, tuple[HeadRecord, ...]]) -> None:
    path, heads = written
    assert all(head.residual is not None and head.chain and head.feature_grids for head in heads)
    loaded = load_model(path)
    assert loaded.is_rewritten
    assert read_heads(loaded.metadata, [value.name for value in loaded.proto.graph.output], "m") == heads
    assert rewrite(loaded).heads == unmeasured(heads)
    assert inspect(loaded).rewritten == unmeasured(heads)


@pytest.mark.parametrize("written", [name for name in MODELS if name != "tokens"], indirect=True)  # images only
def test_a_session_knows_the_whole_record(written: tuple[Path, tuple[HeadRecord, ...]]) -> None:
    path, heads = written
    assert GridSession(path, "cpu").heads == unmeasured(heads)
    assert GridSession(rewrite_model(path), "cpu").heads == unmeasured(heads)


def test_what_the_records_say(tmp_path: Path) -> None:
    """Each field has another value than its default somewhere, so that its loss would be seen above."""
    found: dict[str, HeadRecord] = {}
    for name, (make, options) in MODELS.items():
        onnx.save(make(), tmp_path / f"{name}.onnx")
        heads = rewrite(tmp_path / f"{name}.onnx", **options).heads
        found[name] = heads[-1] if name == "features" else heads[0]
    assert found["position_dependent"].position_dependent
    assert not found["exact"].position_dependent
    assert found["quantized"].quantized
    assert (found["quantized"].rounding_bound or 0) > 0.01
    assert found["instance"].readout == "instance"
    assert (found["instance"].residual or 0) > 1e-3
    assert (found["exact"].residual or 0) < 2e-5
    assert (found["exact"].verdict, found["conditional"].verdict) == ("exact", "conditional")
    assert found["exact"].activation == "softmax"
    assert (found["exact"].attachment, found["shadow"].attachment) == ("plain", "shadow")
    assert found["exact"].as_deployed is not None
    assert found["exact"].as_deployed["passed"] is True
    assert found["several"].outputs == ("y", "label")
    assert (found["tokens"].places.rows, found["tokens"].arranged) == (None, False)
    assert "brought from 4×4 cells" in found["two_grids"].note
    assert (found["features"].output, found["features"].features_of) == ("f", ("y",))
    assert found["everything"].topk == TopKOutputs(2, "gapmil_topk_classes", "gapmil_topk_grid")
    assert found["exact"].source_sha256 == load_model(tmp_path / "exact.onnx").sha256
    assert found["exact"].grid_shape == ("N", 5, 3, 5)
    pool = "GlobalAveragePool making 'p'"
    assert found["exact"].feature_grids == (FeatureGridRecord("x", pool, "NCHW", 6, (3, 5), (2, 3)),)
    default = HeadRecord(output="", outputs=(), verdict="exact", logits="", grid_shape=(0, 0, 0, 0))
    same = {
        entry.name
        for entry in fields(HeadRecord)
        if all(getattr(head, entry.name) == getattr(default, entry.name) for head in found.values())
    }
    # The first two are found anew whenever a record is read; the others, which heads of class tokens have, are in
    # tests/lift/test_class_tokens.py.
    assert same == {"resized_from", "pool_weights", "class_token", "placeless", "placeless_share", "pool", "pooled"}


def test_the_written_file_has_the_residual_that_the_proof_measured(tmp_path: Path) -> None:
    onnx.save(exact(), tmp_path / "m.onnx")
    result = rewrite(tmp_path / "m.onnx")
    assert result.proof is not None
    metadata = load_model(tmp_path / "m.gapmil.onnx").metadata
    assert json.loads(metadata["gapmil.heads"])[0]["residual"] == result.proof.residual("y")
    assert list(metadata) == [
        "gapmil.version",
        "gapmil.verdict",
        "gapmil.heads",
        "gapmil.source_sha256",
        "gapmil.functions_inlined",
        "gapmil.proof",
    ]
    assert verify(tmp_path / "m.onnx", tmp_path / "m.gapmil.onnx").passed


def test_without_a_proof_there_is_no_residual() -> None:
    found = rewrite_model(exact())
    assert found.heads[0].residual is None
    assert rewrite_model(found.model).heads == found.heads


def test_the_keys_of_a_head_stay_what_they_are() -> None:
    assert list(rewrite_model(exact()).heads[0].to_json()) == [
        "output", "verdict", "logits", "features", "grid", "argmax", "certainty", "peaks", "topk", "classes", "scores",
        "activation", "readout", "quantized", "rounding_bound", "position_dependent", "note", "outputs", "grid_shape",
        "residual", "feature_grids", "chain", "places", "attachment", "class_token",
        "class_token_lift", "placeless_share", "as_deployed", "features_of",
    ]  # fmt: skip


def test_a_record_that_is_not_finite_is_null_in_strict_json() -> None:
    model = exact()
    head = HeadRecord(
        output="y", outputs=("y",), verdict="exact", logits="l", grid_shape=("N", 5, 3, 5), residual=float("inf")
    )
    write_heads(model, (head,), inlined=False)
    entry = next(entry for entry in model.metadata_props if entry.key == "gapmil.heads")
    assert json.loads(entry.value, parse_constant=pytest.fail)[0]["residual"] is None


def test_one_conditional_head_makes_the_model_conditional() -> None:
    assert joint_verdict(["exact", "exact"]) == "exact"
    assert joint_verdict(["exact", "conditional"]) == "conditional"


# --- records of others -----------------------------------------------------------------------------------------------


def test_a_record_of_an_older_version_is_read_with_defaults() -> None:
    (head,) = read_heads({"gapmil.heads": json.dumps([ENTRY])}, OUTPUTS, "m.onnx") or ()
    assert head == HeadRecord(
        output="scores",
        outputs=("scores",),
        verdict="conditional",
        logits="gapmil_logits",
        features=None,
        grid="gapmil_grid",
        grid_shape=("?", 4, 2, "w"),
        activation="softmax",
        readout="instance",
    )
    assert head.tensors == ("gapmil_logits", "gapmil_grid")
    assert (head.chain, head.feature_grids, head.residual, head.source_sha256) == ((), (), None, "")


def test_a_model_that_was_not_rewritten_has_no_record() -> None:
    assert read_heads({"author": "vendor"}, OUTPUTS, "m.onnx") is None


STEP: dict[str, Any] = LiftStep("Gemm", "", "y", (2, 4), "affine", False, "dense").to_json()
GRID: dict[str, Any] = FeatureGridRecord("x", "p", "NCHW", 6, (3, 5), (2, 3)).to_json()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSONDecodeError"),
        ("7", "TypeError"),
        ("[]", "it names no head"),
        ('["gapmil_grid"]', "TypeError"),
        ('[{"output": "scores"}]', "KeyError: 'verdict'"),
        (json.dumps([ENTRY | {"grid": 3}]), "3 is not text"),
        (json.dumps([ENTRY | {"verdict": "proven"}]), "'proven' is none of exact, conditional"),
        (json.dumps([ENTRY | {"activation": ["softmax"]}]), "is none of softmax, sigmoid, none"),
        (json.dumps([ENTRY | {"grid_shape": [1, 4, 2]}]), "ValueError"),
        (json.dumps([ENTRY | {"grid_shape": [1, 4, 2, 0.5]}]), "0.5 is not text"),
        (json.dumps([ENTRY | {"residual": "small"}]), "ValueError"),
        (json.dumps([ENTRY | {"rounding_bound": 10**400}]), "OverflowError"),
        (json.dumps([ENTRY | {"chain": [STEP | {"kind": "magic"}]}]), "'magic' is none of pool"),
        (json.dumps([ENTRY | {"chain": ["Gemm"]}]), "TypeError"),
        (json.dumps([ENTRY | {"feature_grids": [GRID | {"size": [3]}]}]), "ValueError"),
        (json.dumps([ENTRY | {"feature_grids": [{}]}]), "KeyError: 'size'"),
        (json.dumps([ENTRY | {"features": "absent"}]), "the graph has no output 'absent'"),
        ("[" * 100_000, "RecursionError"),
    ],
)
def test_a_damaged_record_is_an_error_that_names_the_model(text: str, said: str) -> None:
    with pytest.raises(ModelError, match=r"^m\.onnx: its record of lifted heads") as caught:
        read_heads({"gapmil.heads": text}, OUTPUTS, "m.onnx")
    assert said in str(caught.value)


def test_a_rounding_bound_survives_the_rewritten_file(tmp_path: Path) -> None:
    scale, zero = np.float32(0.03), np.uint8(128)
    weight = weights(5, 6)
    model = text_model(
        """p = GlobalAveragePool(x)  f = Flatten(p)
        q = QuantizeLinear(f, s, z)  d = DequantizeLinear(q, s, z)  y = Gemm<transB=1>(d, w, b)""",
        init={"s": scale, "z": zero, "w": weight, "b": weights(5)},
    )
    made = rewrite_model(model)
    # Half a step of each pooled feature, through the dense layer's weights; by hand.
    expected = float(np.abs(weight).sum(axis=1).max() * scale / 2)
    assert made.heads[0].rounding_bound == pytest.approx(expected)
    path = tmp_path / "rewritten.onnx"
    save_model(made, path)
    assert GridSession(path, provider="cpu").heads[0].rounding_bound == made.heads[0].rounding_bound
    assert rewrite_model(path).heads[0].rounding_bound == made.heads[0].rounding_bound
