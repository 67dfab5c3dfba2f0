"""What was not run is never passed, and one head that failed fails all."""

from __future__ import annotations

import pytest

from onnx_gapmil.rewriting.proof.checks import Check, Figure

GOOD, BETTER = Figure(1e-6, 2e-5, detail="5 cells"), Figure(1e-7, 2e-5)
BAD, LEFT_OUT = Figure(1e-3, 2e-5, failures=("it is wrong.",)), Figure(skipped="it has none")


@pytest.mark.parametrize(
    ("figures", "passed", "measure"),
    [
        ([GOOD], True, 1e-6),
        ([BETTER, GOOD], True, 1e-6),
        ([GOOD, BAD], False, 1e-3),
        ([GOOD, LEFT_OUT], None, 1e-6),
        ([BAD, LEFT_OUT], False, 1e-3),
        ([LEFT_OUT], None, None),
        ([], None, None),
    ],
)
def test_the_joint_figure_is_the_worst(figures: list[Figure], passed: bool | None, measure: float | None) -> None:
    check = Check("cell", {str(place): figure for place, figure in enumerate(figures)})
    assert check.passed is passed
    assert check.joint.measure == measure
    assert check.failures == (("it is wrong.",) if BAD in figures else ())


def test_the_worst_is_the_nearest_to_what_it_is_allowed() -> None:
    coarse = Figure(1e-2, 5e-2)
    near = Figure(1.9e-5, 2e-5)
    assert Check("cell", {"a": coarse, "b": near}).joint == near
    assert Check("cell", {"a": coarse, "b": Figure(float("nan"), 2e-5, failures=("",))}).passed is False


def test_a_part_that_failed_fails_the_whole_and_one_not_run_does_not() -> None:
    assert Check("sum", {"y": GOOD}, {"float64": Check("sum", {"y": BAD})}).passed is False
    assert Check("sum", {"y": GOOD}, {"float64": Check("sum", {"y": LEFT_OUT})}).passed is True


def test_json_has_the_four_keys_the_parts_and_each_head() -> None:
    found = Check("sum", {"y": GOOD, "z": LEFT_OUT}, {"float64": Check("sum", {"y": BETTER})}).to_json()
    assert {key: found[key] for key in ("passed", "measure", "allowed", "skipped")} == {
        "passed": None,
        "measure": 1e-6,
        "allowed": 2e-5,
        "skipped": "it has none",
    }
    assert found["float64"]["passed"] is True
    assert found["heads"]["y"] == {"passed": True, "measure": 1e-6, "allowed": 2e-5, "skipped": None}
    assert found["heads"]["z"]["passed"] is None
