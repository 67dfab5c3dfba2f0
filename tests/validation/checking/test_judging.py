"""Every state of every kind of rule; what is left out never counts as passed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil import CheckReport, InputError, check
from onnx_gapmil.validation.checking.result import RuleResult
from tests.helpers.policies import COMPARE, SUMMARY, Bench, changed


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def judged(bench: Bench, rule: str, **options: Any) -> RuleResult:
    report = check(bench.model, bench.policy(f"[[require]]\n{rule}"), **options)
    (result,) = report.rules
    return result


def state(bench: Bench, rule: str, **options: Any) -> str:
    return judged(bench, rule, **({"audit": bench.audit} | options)).state


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ('metric = "top1"\nmin = 0.75', "passed"),
        ('metric = "top1"\nmin = 0.775', "passed"),
        ('metric = "top1"\nmin = 0.7751', "failed"),
        ('metric = "top1"\nmin = 0.7751\nseverity = "warn"', "warned"),
        ('metric = "top1"\nmax = 0.8', "passed"),
        ('metric = "top1"\nmax = 0.7', "failed"),
        ('metric = "top1"\nmin = 0.75\nbound = "lower"', "failed"),
        ('metric = "top1"\nmin = 0.73\nbound = "lower"', "passed"),
        ('metric = "top1"\nmax = 0.8\nbound = "upper"', "failed"),
        ('metric = "top1"\nmin = 0.8\nbound = "upper"', "passed"),
        ('metric = "foreground.wrong.excess"\nmin = 0\nbound = "lower"', "failed"),
        ('metric = "foreground.wrong.excess"\nmin = 0', "passed"),
        ('metric = "aggregators.max.top1"\nmin = 0.66\nbound = "lower"', "failed"),
        ('metric = "top5"\nmin = 0.9\nbound = "lower"', "not_judged"),
        ('metric = "pxap"\nmin = 0.1', "not_judged"),
        ('metric = "top11"\nmin = 0.1', "not_judged"),
        ('metric = "verdict"\nmin = 0.1', "not_judged"),
        ('metric = "top1"\nmin = 0.1\nmin_images = 400', "passed"),
        ('metric = "top1"\nmin = 0.1\nmin_images = 401', "not_judged"),
        ('metric = "foreground.wrong.any_top1"\nmin = 0.1\nmin_images = 91', "not_judged"),
        ('metric = "foreground.wrong.any_top1"\nmin = 0.1\nmin_images = 91\nseverity = "warn"', "not_judged"),
        ('metric = "top1"\nmin = 0.7\nslice = "camera=night"', "passed"),
        ('metric = "top1"\nmin = 0.71\nslice = "camera=night"', "failed"),
        ('metric = "top1"\nmin = 0.65\nslice = "camera=night"\nbound = "lower"', "failed"),
        ('metric = "top1"\nmin = 0.1\nslice = "camera=dusk"', "not_judged"),
        ('metric = "top1"\nmin = 0.1\nslice = "weather=rain"', "not_judged"),
        ('metric = "top5"\nmin = 0.1\nslice = "camera=night"', "not_judged"),
        ('metric = "top1"\nmin = 0.70\nslice = "worst:camera"', "passed"),
        ('metric = "top1"\nmin = 0.75\nslice = "worst:camera"', "failed"),
        ('metric = "top1"\nmin = 0.1\nslice = "worst:camera"\nmin_images = 200', "not_judged"),
        ('metric = "top1"\nmin = 0.9\nslice = "worst:camera"\nmin_images = 200', "failed"),
        ('metric = "top1"\nmin = 0.1\nslice = "worst:weather"', "not_judged"),
    ],
)
def test_rules_on_the_audit(bench: Bench, rule: str, expected: str) -> None:
    assert state(bench, rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ('metric = "compare.agreement.top1"\nmin = 0.9', "passed"),
        ('metric = "compare.agreement.top1"\nmin = 0.9\nbound = "lower"', "failed"),
        ('metric = "compare.flips.broken"\nmax = 19', "failed"),
        ('metric = "compare.accuracy.difference"\nmin = -0.1\nslice = "worst:class"', "failed"),
        ('metric = "compare.accuracy.difference"\nmin = -0.1\nslice = "class=dog"', "passed"),
        ('metric = "compare.grids.correlation"\nmin = 0.5', "not_judged"),
        ('metric = "compare.top1"\nmin = 0.5', "not_judged"),
        ('metric = "compare.agreement.top1"\nmax_drop = 0.1', "not_judged"),
    ],
)
def test_rules_on_the_comparison(bench: Bench, rule: str, expected: str) -> None:
    assert state(bench, rule, compare=bench.compare) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ('metric = "top1"\nmax_drop = 0.025', "passed"),
        ('metric = "top1"\nmax_drop = 0.0249', "failed"),
        ('metric = "top1"\nmax_drop = 0.0249\nseverity = "warn"', "warned"),
        ('metric = "top1"\nmax_drop = "3.2 %"', "passed"),
        ('metric = "top1"\nmax_drop = "3.1 %"', "failed"),
        ('metric = "top1"\nmax_rise = 0', "passed"),
        ('metric = "top5"\nmax_rise = 0', "passed"),
        ('metric = "top1"\nmax_drop = 0.1\nslice = "camera=night"', "passed"),
        ('metric = "top1"\nmax_drop = 0.1\nslice = "worst:camera"', "passed"),
        ('metric = "pxap"\nmax_drop = 0.1', "not_judged"),
        ('metric = "top1"\nmax_drop = 0.1\nbound = "upper"', "not_judged"),
    ],
)
def test_drops_against_the_baseline(bench: Bench, rule: str, expected: str) -> None:
    assert state(bench, rule, baseline=bench.baseline) == expected


def test_a_drop_in_a_slice_is_of_the_same_slice(bench: Bench) -> None:
    """A label file that changed gives slices of one name and other images."""
    other = changed(SUMMARY, model_sha256="cd" * 32, slice_columns__camera__members_sha256="34" * 32)
    baseline = bench.write("other.json", other)
    result = judged(
        bench, 'metric = "top1"\nmax_drop = 0.1\nslice = "camera=night"', baseline=baseline, audit=bench.audit
    )
    assert (result.state, "other label file" in result.reason.replace("another", "other")) == ("not_judged", True)
    silent = changed(SUMMARY, model_sha256="cd" * 32, slice_columns={})
    assert state(
        bench, 'metric = "top1"\nmax_drop = 0.1\nslice = "worst:camera"', baseline=bench.write("s.json", silent)
    ) == ("not_judged")


def test_a_paired_drop_in_a_slice_is_of_the_same_slice(bench: Bench) -> None:
    rule = 'metric = "top1"\nmax_drop = 0.1\nbound = "upper"\nslice = "camera=night"'
    pair = {"images": 100, "accuracy": {"old": 0.8, "new": 0.7, "difference": -0.1, "interval": [-0.15, -0.05]}}
    same = changed(COMPARE, slices__camera={"night": pair}, slice_columns=SUMMARY["slice_columns"])
    assert state(bench, rule, compare=bench.write("c/compare.json", same)) == "failed"
    assert state(bench, rule.replace("0.1", "0.16"), compare=bench.folder / "c") == "passed"
    del same["slice_columns"]
    assert state(bench, rule, compare=bench.write("d/compare.json", same)) == "not_judged"


def test_a_column_without_slices_is_not_judged_with_its_reason(bench: Bench) -> None:
    result = judged(bench, 'metric = "top1"\nmin = 0.1\nslice = "worst:file"', audit=bench.audit)
    assert result.state == "not_judged"
    assert result.reason == "there are no slices by file in summary.json: 400 values for 400 images: no slices"


def test_a_column_may_hold_the_mark_of_a_slice(bench: Bench) -> None:
    bench.write("audit/summary.json", changed(SUMMARY, slices={"a=b": {"c=d": SUMMARY["slices"]["camera"]["day"]}}))
    assert state(bench, 'metric = "top1"\nmin = 0.8\nslice = "a=b=c=d"') == "passed"
    assert state(bench, 'metric = "top1"\nmin = 0.8\nslice = "worst:a=b"') == "passed"


def test_images_are_those_that_the_figure_is_of(bench: Bench) -> None:
    """300 images of which 12 have boxes: a pointing game of 12 games is not judged by 300."""
    bench.write("audit/summary.json", changed(SUMMARY, pointing_game=0.9, counts={"pointing_game": 12}))
    rule = 'metric = "pointing_game"\nmin = 0.5\nmin_images = 100'
    result = judged(bench, rule, audit=bench.audit)
    assert (result.state, result.images) == ("not_judged", 12)


def test_the_end_of_a_drops_interval_needs_paired_answers(bench: Bench) -> None:
    strict = 'metric = "top1"\nmax_drop = 0.05\nbound = "upper"'
    paired = {"baseline": bench.baseline, "compare": bench.compare}
    result = judged(bench, strict, audit=bench.audit, **paired)
    assert (result.state, result.value) == ("failed", pytest.approx(0.025))
    assert result.interval == (pytest.approx(-0.002), pytest.approx(0.052))
    assert state(bench, strict.replace("0.05", "0.053"), **paired) == "passed"
    assert state(bench, strict.replace('"upper"', '"lower"'), **paired) == "passed"
    share = judged(bench, 'metric = "top1"\nmax_drop = "6.6 %"\nbound = "upper"', audit=bench.audit, **paired)
    assert (share.state, share.interval) == ("passed", (pytest.approx(-0.0025), pytest.approx(0.065)))
    other = 'metric = "top5"\nmax_drop = 0.05\nbound = "upper"'
    assert "without labels" in judged(bench, other, audit=bench.audit, **paired).reason
    third = 'metric = "foreground.wrong.any_top1"\nmax_drop = 0.05\nbound = "upper"'
    assert "pairs no answers" in judged(bench, third, audit=bench.audit, **paired).reason


def test_a_comparison_alone_is_a_baseline_for_what_it_pairs(bench: Bench) -> None:
    result = judged(bench, 'metric = "top1"\nmax_drop = 0.02', audit=bench.audit, compare=bench.compare)
    assert (result.state, result.value, result.baseline) == ("failed", pytest.approx(0.025), 0.8)
    assert state(bench, 'metric = "top5"\nmax_drop = 0.02', compare=bench.compare) == "not_judged"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__keys_sha256": "00" * 32}, "other images than the audit"),
        ({"models__old__sha256": "00" * 32}, "another model than the baseline's"),
        ({"models__new__aggregator": "max"}, "another aggregator"),
        ({"models__old__aggregator": "max"}, "another aggregator"),
        ({"models__new__sha256": "00" * 32}, "of another model"),
    ],
)
def test_a_comparison_of_something_else_says_nothing_of_a_drop(
    bench: Bench, changes: dict[str, Any], said: str
) -> None:
    bench.write("compare/compare.json", changed(COMPARE, **changes))
    rule = 'metric = "top1"\nmax_drop = 0.5\nbound = "upper"'
    result = judged(bench, rule, audit=bench.audit, baseline=bench.baseline, compare=bench.compare)
    assert result.state == "not_judged"
    assert said in result.reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__keys_sha256": "00" * 32}, "of other images"),
        ({"data": {}}, "no hash of keys"),
        ({"top1": None}, "not measured"),
    ],
)
def test_a_baseline_of_other_data_is_none(bench: Bench, changes: dict[str, Any], said: str) -> None:
    other = bench.write("other.json", changed(SUMMARY, **changes))
    result = judged(bench, 'metric = "top1"\nmax_drop = 0.9', audit=bench.audit, baseline=other)
    assert result.state == "not_judged"
    assert said in result.reason


def test_an_audit_of_another_model_is_not_judged_by(bench: Bench) -> None:
    bench.write("audit/summary.json", changed(SUMMARY, model_sha256="00" * 32))
    result = judged(bench, 'metric = "top1"\nmin = 0.1', audit=bench.audit)
    assert result.state == "not_judged"
    assert "of another model (SHA-256 000000000000..." in result.reason


def test_results_of_other_weights_beside_the_model_are_not_judged_by(bench: Bench) -> None:
    (bench.folder / "model.data").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    rule = 'metric = "top1"\nmin = 0.1'
    bench.write("audit/summary.json", {**SUMMARY, "model_weights": {"model.data": digest}})
    assert state(bench, rule) == "passed"
    (bench.folder / "model.data").write_bytes(b"others")
    assert "of other weights" in judged(bench, rule, audit=bench.audit).reason
    (bench.folder / "model.data").unlink()
    assert "not beside the model" in judged(bench, rule, audit=bench.audit).reason
    models = {**COMPARE["models"], "new": {**COMPARE["models"]["new"], "weights": {"model.data": digest}}}
    bench.write("compare/compare.json", {**COMPARE, "models": models})
    result = judged(bench, 'metric = "compare.flips.count"\nmin = 0', compare=bench.compare)
    assert (result.state, "comparison's new side is of weights" in result.reason) == ("not_judged", True)


def test_results_of_another_output_are_not_judged_by(bench: Bench) -> None:
    rule = 'metric = "top1"\nmin = 0.1'
    assert state(bench, rule, head="logits") == "passed"
    assert "of output 'logits' and not of 'other'" in judged(bench, rule, audit=bench.audit, head="other").reason
    rule = 'metric = "compare.flips.count"\nmin = 0'
    assert state(bench, rule, compare=bench.compare) == "passed"
    assert state(bench, rule, compare=bench.compare, head="other") == "not_judged"


def test_nothing_at_hand_is_nothing_judged(bench: Bench) -> None:
    assert "no audit was given" in judged(bench, 'metric = "top1"\nmin = 0.1').reason
    assert "no comparison was given" in judged(bench, 'metric = "compare.flips.count"\nmin = 0.1').reason
    assert "no baseline was given" in judged(bench, 'metric = "top1"\nmax_drop = 0.1', audit=bench.audit).reason


def outcome(bench: Bench, *rules: str, **options: Any) -> CheckReport:
    text = "\n".join(f"[[require]]\n{rule}" for rule in rules)
    return check(bench.model, bench.policy(text), audit=bench.audit, **options)


PASSES, FAILS = 'metric = "top1"\nmin = 0.1', 'metric = "top1"\nmin = 0.9'
WARNS, ABSENT = 'metric = "top1"\nmin = 0.95\nseverity = "warn"', 'metric = "pxap"\nmin = 0.1'


@pytest.mark.parametrize(
    ("rules", "said", "code", "allowed"),
    [
        ((PASSES,), "passed", 0, 0),
        ((PASSES, WARNS), "passed", 0, 0),
        ((PASSES, FAILS), "failed", 1, 1),
        ((PASSES, ABSENT), "not_judged", 2, 0),
        ((FAILS, ABSENT), "failed", 1, 1),
        ((ABSENT + '\nseverity = "warn"',), "not_judged", 2, 0),
    ],
)
def test_outcomes_and_exit_codes(bench: Bench, rules: tuple[str, ...], said: str, code: int, allowed: int) -> None:
    report = outcome(bench, *rules)
    assert (report.outcome, report.exit_code, report.passed) == (said, code, said == "passed")
    assert outcome(bench, *rules, allow_unjudged=True).exit_code == allowed


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("audit/summary.json", {"schema_version": 1}, "no summary.json of an audit"),
        ("audit/summary.json", [1], "no summary.json of an audit"),
        ("audit/summary.json", changed(SUMMARY, schema_version=9), "schema_version is '9'"),
        ("compare/compare.json", {"schema_version": 1, "models": {"old": {}}}, "no compare.json of a comparison"),
    ],
)
def test_results_that_are_none_are_refused(bench: Bench, name: str, content: object, said: str) -> None:
    bench.write(name, content)
    with pytest.raises(InputError, match=said):
        outcome(bench, PASSES, compare=bench.compare)


@pytest.mark.parametrize(
    "text", ["", "{", '{"schema_version": 1, "model_sha256": "a', '{"top1": NaN}', '{"a": 1, "a": 2}']
)
def test_torn_results_are_refused(bench: Bench, text: str) -> None:
    (bench.audit / "summary.json").write_text(text)
    with pytest.raises(InputError, match=r"summary\.json"):
        outcome(bench, PASSES)


def test_missing_files_are_named(bench: Bench) -> None:
    with pytest.raises(InputError, match=r"has no summary\.json"):
        check(bench.model, bench.policy(f"[[require]]\n{PASSES}"), audit=bench.folder)
    with pytest.raises(InputError, match="no such file"):
        check(bench.folder / "absent.onnx", bench.policy(f"[[require]]\n{PASSES}"))
    with pytest.raises(InputError, match="read or written in this very run"):
        outcome(bench, PASSES, junit=bench.model)
    with pytest.raises(InputError, match="read or written in this very run"):
        outcome(bench, PASSES, junit=bench.folder / "a", attestation=bench.folder / "a")
    with pytest.raises(InputError, match="read or written in this very run"):
        outcome(bench, PASSES, attestation=bench.audit / "summary.json")
    with pytest.raises(InputError, match="give one of the two"):
        outcome(bench, PASSES, data=bench.folder)


def test_rules_on_the_file_are_judged_by_its_audit_without_running_it(bench: Bench) -> None:
    text = '[model]\nsha256 = "{}"\nverdict = ["exact"]\npreprocessing = "stated"'
    sha = SUMMARY["model_sha256"]
    report = check(bench.model, bench.policy(text.format(sha)), audit=bench.audit)
    assert [rule.state for rule in report.rules] == ["passed"] * 3
    wrong = bench.policy(text.format("0" * 64).replace('"exact"', '"conditional"'))
    bench.write("audit/summary.json", changed(SUMMARY, preprocess_assumed=True))
    report = check(bench.model, wrong, audit=bench.audit)
    assert [(rule.state, rule.line) for rule in report.rules] == [("failed", 3), ("failed", 4), ("failed", 5)]


@pytest.mark.parametrize(
    ("guessed", "value"), [(["color"], "guessed"), ([], "found on images")], ids=["guessed", "auto"]
)
def test_preprocessing_that_was_found_on_images_is_not_stated_and_not_guessed(
    bench: Bench, guessed: list[str], value: str
) -> None:
    bench.write("audit/summary.json", changed(SUMMARY, preprocess_assumed=True, preprocess_guessed=guessed))
    report = check(bench.model, bench.policy('[model]\npreprocessing = "stated"'), audit=bench.audit)
    (rule,) = report.rules
    assert (rule.state, rule.value) == ("failed", value)
    assert ("guessed" in rule.reason) is bool(guessed)


def test_a_slice_nobody_judged_keeps_the_worst_from_passing(bench: Bench) -> None:
    bench.write("audit/summary.json", changed(SUMMARY, slice_columns__camera__unjudged={"dusk": 16}))
    for where in ("worst:camera", "camera=dusk"):
        result = judged(bench, f'metric = "top1"\nmin = 0.0\nslice = "{where}"', audit=bench.audit)
        assert (result.state, result.slice) == ("not_judged", "camera=dusk")
        assert "none of its 16 images was judged" in result.reason
    assert state(bench, 'metric = "top1"\nmin = 0.75\nslice = "worst:camera"') == "failed"
    assert state(bench, 'metric = "top1"\nmin = 0.5\nslice = "camera=day"') == "passed"


def test_a_figure_outside_its_own_interval_is_not_judged_by_it(bench: Bench) -> None:
    """A count of 2 beside the interval of a share."""
    causes = {"dilution": 1, "distraction": 2, "absent": 0}
    bench.write(
        "audit/summary.json",
        changed(SUMMARY, error_causes=causes, intervals={"error_causes.distraction": [0.34, 1.0]}),
    )
    rule = 'metric = "error_causes.distraction"\nmax = 1\n'
    assert state(bench, f'{rule}bound = "upper"') == "not_judged"
    assert state(bench, rule) == "failed"


def test_the_number_of_all_images_is_not_that_of_fewer(bench: Bench) -> None:
    """Where a result does not say what a figure on boxes is of, it is not of all images."""
    boxes = {"objects": 3, "mean": 0.5, "one_box": {"share": 0.5}}
    suspects = {"images": 2, "of": 300, "share": 0.01}
    bench.write("audit/summary.json", changed(SUMMARY, localization=boxes, suspect_labels=suspects, maxboxacc_v1=0.5))
    for metric in ("localization.mean", "localization.one_box.share", "maxboxacc_v1"):
        result = judged(bench, f'metric = "{metric}"\nmin = 0.1\nmin_images = 2', audit=bench.audit)
        assert (result.state, result.images) == ("not_judged", None)
        assert state(bench, f'metric = "{metric}"\nmin = 0.1') == "passed"
    assert judged(bench, 'metric = "suspect_labels.images"\nmax = 5', audit=bench.audit).images == 300
    moved = {"moved": {"onto_object": 0.1}, "images": 48, "with_object": 3}
    content = changed(COMPARE, grids=moved)
    rule = 'metric = "compare.grids.moved.onto_object"\nmax = 0.5\nmin_images = 2'
    assert state(bench, rule, compare=bench.write("c/compare.json", content)) == "not_judged"
    dotted = {"objects": 3, "oracle": {"iou_0.5": 0.6}}
    bench.write("audit/summary.json", changed(SUMMARY, localization=dotted, counts={"localization.oracle.iou_0.5": 3}))
    result = judged(bench, 'metric = "localization.oracle.iou_0.5"\nmin = 0.5', audit=bench.audit)
    assert (result.state, result.images) == ("passed", 3)
    said = changed(content, counts={"grids.moved.onto_object": 3})
    assert judged(bench, rule, compare=bench.write("d/compare.json", said)).images == 3
