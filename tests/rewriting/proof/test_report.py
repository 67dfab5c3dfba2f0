"""When a proof counts as passed, and what it says where it did not."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.errors import ModelError
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport, Trial


def trial(**changes: object) -> Trial:
    values = {"inputs": "random", "outputs_equal": True, "outputs_difference": 0.0, "residuals": {"y": 1e-7}}
    return Trial(**(values | {"scale": {"y": 1.0}} | changes))


def report(**changes: object) -> ProofReport:
    values = {"trials": (trial(),), "tolerance": {"y": 2e-5}, "checked": ("y",), "outputs_tolerance": 0.0} | changes
    return ProofReport(**values)


def test_report_without_a_trial_did_not_pass() -> None:
    assert report().passed
    assert not report(trials=()).passed


def test_report_with_a_failed_run_did_not_pass() -> None:
    assert not report(failures=("the rewritten model fails.",)).passed


@pytest.mark.parametrize("residual", [np.nan, np.inf, 3e-5])
def test_report_with_a_bad_residual_did_not_pass(residual: float) -> None:
    assert not report(trials=(trial(residuals={"y": residual}),)).passed


def test_the_worst_trial_decides() -> None:
    found = report(trials=(trial(), trial(residuals={"y": 3e-5}), trial(residuals={"y": 1e-6})))
    assert found.residual("y") == 3e-5
    (said,) = found.reasons()
    assert said == (
        "output 'y': the mean over cells differs from the logits by 3e-05 of the largest logit; 2e-05 is allowed."
    )


def test_a_changed_output_fails_unless_rounding_is_allowed() -> None:
    moved = (trial(), trial(outputs_equal=False, outputs_difference=1e-4))
    assert report(trials=moved).reasons() == ["an original output changed by 0.0001 of its largest value."]
    assert report(trials=moved, outputs_tolerance=1e-4).passed


def test_a_head_that_is_not_checked_is_reported_all_the_same() -> None:
    found = report(trials=(trial(residuals={"y": 0.3}),), checked=())
    assert found.passed
    assert found.to_json()["residuals"] == {"y": 0.3}


def test_a_rounding_bound_is_of_the_logits_themselves_and_not_of_their_share() -> None:
    """The residual is a share of the largest logit, 8: 0.01 of it is 0.08."""
    large = (trial(residuals={"y": 0.01}, scale={"y": 8.0}),)
    wide = {"y": 0.05}
    assert report(trials=large, tolerance=wide, rounding_bound={"y": 0.081}).passed
    (said,) = report(trials=large, tolerance=wide, rounding_bound={"y": 0.079}).reasons()
    assert "more than the 0.079 that rounding to its scales explains" in said


def test_a_rounding_bound_above_the_logits_themselves_explains_nothing() -> None:
    """All that is pooled rounds to 0: the logits are their bias, and any cells at all were within the bound."""
    wide = {"y": 0.05}
    trials = tuple(trial(residuals={"y": residual}, scale={"y": 0.6}) for residual in (2.4, 1.2))
    (said,) = report(trials=trials, tolerance=wide, rounding_bound={"y": 7.8}).reasons()
    assert "on every input the mean over cells differs from the logits by 1.2 of the largest logit" in said
    once = (*trials, trial(residuals={"y": 0.9}, scale={"y": 0.6}))
    assert report(trials=once, tolerance=wide, rounding_bound={"y": 7.8}).passed


def test_a_reduction_that_is_not_numpys_fails_by_its_name() -> None:
    found = report(trials=(trial(emissions={"m": 1e-3}),), emitted={"m": "y"})
    (said,) = found.reasons()
    assert said == "'m' differs from the same of the whole grid by 0.001; 2e-05 is allowed."
    assert report(trials=(trial(emissions={"m": np.nan}),), emitted={"m": "y"}).reasons()
    assert report(emitted={"m": "y"}).passed, "what was not run is not judged here"


def test_only_where_nothing_else_is_wrong_is_the_model_to_blame_for_what_is_no_number() -> None:
    nan = {"class_errors": {"y": np.array([1e-7, np.nan])}, "nan": {"y": np.array([False, True])}}
    with pytest.raises(ModelError, match="m: the rewritten model cannot be proved: output 'y': the model itself"):
        report(trials=(trial(**nan),)).require_passed("m: the rewritten model")
    with pytest.raises(ProofError, match="m: the rewritten model failed its proof: the rewritten model fails"):
        report(trials=(trial(**nan),), failures=("the rewritten model fails.",)).require_passed(
            "m: the rewritten model"
        )
    number = nan | {"nan": {"y": np.array([False, False])}}  # of another input it is one
    with pytest.raises(ProofError, match=r"failed its proof: output 'y': on no input .* logit of class 1 a number"):
        report(trials=(trial(**nan), trial(**number))).require_passed("m")
    report().require_passed("m")


@pytest.mark.parametrize("errors", [[0.0, 0.0], [np.nan, np.nan], [0.0, np.nan]])
def test_a_head_without_a_finite_logit_on_any_input_did_not_pass(errors: list[float]) -> None:
    """Infinities that are found where they should be are no sum that was measured."""
    silent = trial(residuals={}, class_errors={"y": np.array(errors)})
    (said,) = report(trials=(silent, silent)).reasons()
    assert said == "output 'y': the model itself answers no finite number to any input that was tried."
    with pytest.raises(ModelError, match="answers no finite number"):
        report(trials=(silent, silent)).require_passed("m")
    known = trial(class_errors={"y": np.array([1e-6, 1e-6])})
    assert report(trials=(silent, known)).passed
