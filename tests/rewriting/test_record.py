from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnx_gapmil import GridSession
from onnx_gapmil.errors import ModelError
from onnx_gapmil.rewriting.record import HeadRecord, read_heads
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.saving import save_model
from tests.helpers.support import text_model, weights

OUTPUTS = ["scores", "gapmil_logits", "gapmil_grid"]
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


def test_heads_are_read_from_the_metadata():
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


def test_a_model_that_was_not_rewritten_has_no_record():
    assert read_heads({"author": "vendor"}, OUTPUTS, "m.onnx") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSONDecodeError"),
        ("7", "TypeError"),
        ("[]", "it names no head"),
        ('["gapmil_grid"]', "TypeError"),
        ('[{"output": "scores"}]', "KeyError: 'verdict'"),
        (json.dumps([ENTRY | {"grid": 3}]), "3 is not text"),
        (json.dumps([ENTRY | {"features": "absent"}]), "the graph has no output 'absent'"),
        ("[" * 100_000, "RecursionError"),
    ],
)
def test_a_damaged_record_is_an_error_that_names_the_model(text, said):
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
