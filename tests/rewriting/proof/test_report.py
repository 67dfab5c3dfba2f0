"""When a proof passes, and when not."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.rewriting.proof.report import ProofReport, Trial


def report(**changes: object) -> ProofReport:
    trial = Trial("random", outputs_equal=True, outputs_difference=0.0, residuals={"y": 1e-7}, scale={"y": 1.0})
    values = {"trials": (trial,), "tolerance": {"y": 2e-5}, "checked": ("y",), "outputs_tolerance": 0.0} | changes
    return ProofReport(**values)


def test_report_without_a_trial_did_not_pass() -> None:
    assert report().passed
    assert not report(trials=()).passed


def test_report_with_a_failed_run_did_not_pass() -> None:
    assert not report(failures=("the rewritten model fails.",)).passed


@pytest.mark.parametrize("residual", [np.nan, np.inf, 3e-5])
def test_report_with_a_bad_residual_did_not_pass(residual: float) -> None:
    trial = Trial("random", outputs_equal=True, outputs_difference=0.0, residuals={"y": residual}, scale={"y": 1.0})
    assert not report(trials=(trial,)).passed
