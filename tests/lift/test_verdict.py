"""Refusals and steps as the command line prints them."""

from __future__ import annotations

import json

from onnx_gapmil.lift.verdict import HeadRefused, LiftStep, Refusal


def test_a_refusal_is_raised_and_printed_whole() -> None:
    refusal = Refusal(
        "class-token", "gather (Gather)", "it takes one of 17 tokens", "Ask for another.", ("head (Gemm)",)
    )
    assert str(HeadRefused(refusal)) == "it takes one of 17 tokens"
    assert HeadRefused(refusal).refusal is refusal
    assert json.loads(json.dumps(refusal.to_json())) == {
        "code": "class-token",
        "node": "gather (Gather)",
        "message": "it takes one of 17 tokens",
        "advice": "Ask for another.",
        "walked": ["head (Gemm)"],
    }


def test_a_step_is_printed_whole() -> None:
    step = LiftStep("com.microsoft::FusedGemm", "fc", "y", (2, 5), "activation", True, "dense 6 → 5, then Relu")
    assert json.loads(json.dumps(step.to_json())) == {
        "op": "com.microsoft::FusedGemm",
        "node": "fc",
        "output": "y",
        "shape": [2, 5],
        "kind": "activation",
        "conditional": True,
        "detail": "dense 6 → 5, then Relu",
    }
