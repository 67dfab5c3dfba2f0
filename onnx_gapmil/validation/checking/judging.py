"""One rule on figures, judged: what it is held against, and why it passes, fails, warns or cannot be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from onnx_gapmil.files.wording import count
from onnx_gapmil.validation.checking.evidence import data_keys
from onnx_gapmil.validation.checking.figures import (
    Figure,
    column_and_value,
    find_figure,
    same_slices,
    slice_content,
    slice_values,
)
from onnx_gapmil.validation.checking.result import RuleResult

if TYPE_CHECKING:
    from onnx_gapmil.validation.checking.evidence import AllEvidence, Evidence
    from onnx_gapmil.validation.checking.policy import Rule
    from onnx_gapmil.validation.checking.result import State

_COMPARE = "compare."
#: Figures of an audit whose change a comparison measures on pairs of answers, and where.
_PAIRED = {"top1": "accuracy", "aggregators.mean.top1": "accuracy", "top5": "accuracy_top5"}
_OTHER_SLICES = (
    "it is not known whether the slices by {0} are of the same images in the audit and {1}: another label file, or "
    "images that failed"
)
#: By how much a figure may miss its limit and be on it: 0.77 - 0.75 is not 0.02 in binary.
_SLACK = 1e-9


@dataclass(frozen=True)
class _Judged:
    """What is judged of one slice, or of all images.

    Attributes:
        figure: the figure, or the drop or rise; a sentence where there is none.
        slice: that it is of.
        baseline: what a drop or rise is from.
    """

    figure: Figure | str
    slice: str | None = None
    baseline: float | None = None


def judge_rule(rule: Rule, evidence: AllEvidence) -> RuleResult:
    """Judge a rule on figures; what cannot be judged is never passed."""
    source, metric, where = _source(rule, evidence)
    if isinstance(source, str):
        return _result(rule, _Judged(source, rule.slice), "not_judged", source)
    cases = _cases(rule, source, metric, where, evidence)
    if isinstance(cases, str):
        return _result(rule, _Judged(cases, rule.slice), "not_judged", cases)
    results = [_judge(rule, case) for case in cases]
    return results[0] if rule.slice is None or not rule.slice.startswith("worst:") else _worst(rule, results)


def _source(rule: Rule, evidence: AllEvidence) -> tuple[Mapping[str, Any] | str, str, str]:
    """The result that a metric is of, its path in it and the file's name; or why there is none."""
    if rule.metric.startswith(_COMPARE):
        found, metric, where = evidence.compare, rule.metric.removeprefix(_COMPARE), "compare.json"
        absent = "no comparison was given (--compare, or --against and --data)"
    else:
        found, metric, where = evidence.audit, rule.metric, "summary.json"
        absent = "no audit was given (--audit, or --data)"
    if found is None:
        return absent, metric, where
    return found.problem or found.content, metric, where


def _cases(
    rule: Rule, content: Mapping[str, Any], metric: str, where: str, evidence: AllEvidence
) -> list[_Judged] | str:
    """What is to be judged: one case, or one for each value of a column."""
    if rule.slice is None:
        return [_case(rule, content, metric, where, evidence, None)]
    column = rule.slice.removeprefix("worst:")
    if column == rule.slice:
        return [_case(rule, content, metric, where, evidence, column_and_value(content, rule.slice))]
    values = slice_values(content, column, where)
    if isinstance(values, str):
        return values
    return [_case(rule, content, metric, where, evidence, (column, value)) for value in values]


def _case(
    rule: Rule,
    content: Mapping[str, Any],
    metric: str,
    where: str,
    evidence: AllEvidence,
    chosen: tuple[str, str] | None,
) -> _Judged:
    name = f"{chosen[0]}={chosen[1]}" if chosen is not None else None
    figure = _figure(content, metric, where, chosen)
    if isinstance(figure, str) or rule.limit.kind in ("min", "max"):
        return _Judged(figure, name)
    return replace(_change(rule, figure, metric, content, evidence, chosen), slice=name)


def _figure(content: Mapping[str, Any], metric: str, where: str, chosen: tuple[str, str] | None) -> Figure | str:
    if chosen is None:
        return find_figure(content, metric, where)
    part = slice_content(content, *chosen, where)
    return part if isinstance(part, str) else find_figure(part, metric, f"{where} for {chosen[0]}={chosen[1]}")


def _change(
    rule: Rule,
    figure: Figure,
    metric: str,
    own: Mapping[str, Any],
    evidence: AllEvidence,
    chosen: tuple[str, str] | None,
) -> _Judged:
    """The drop or rise: paired where the comparison has it and it is wanted, else from the baseline."""
    if rule.metric.startswith(_COMPARE):
        return _Judged("a figure of a comparison is a change already: it has no baseline; use min or max")
    sign = 1.0 if rule.limit.kind == "max_rise" else -1.0
    if rule.bound is not None or evidence.baseline is None:
        paired = _paired(rule, metric, evidence, chosen)
        if not isinstance(paired, str):
            return _of_pair(rule, paired, sign)
        if rule.bound is not None:
            return _Judged(paired)
        return _Judged(f"no baseline was given (--baseline); and {paired}")
    baseline = evidence.baseline
    if baseline.problem:
        return _Judged(baseline.problem)
    before = _figure(baseline.content, metric, "the baseline", chosen)
    if isinstance(before, str):
        return _Judged(before)
    if chosen is not None and not same_slices(own, baseline.content, chosen[0]):
        return _Judged(_OTHER_SLICES.format(chosen[0], "the baseline"))
    change = sign * (figure.value - before.value) + 0.0  # no drop is 0, and not -0
    return _scaled(rule, Figure(change, None, figure.images), before.value)


def _paired(rule: Rule, metric: str, evidence: AllEvidence, chosen: tuple[str, str] | None) -> Mapping[str, Any] | str:
    """The part of the comparison that has the change of a figure on the same images; or why there is none."""
    pair = evidence.compare
    if metric not in _PAIRED:
        return f"a comparison pairs no answers for {metric}, so its change has no interval"
    if pair is None:
        return "the end of an interval of a change needs paired answers (--compare)"
    if pair.problem:
        return pair.problem
    problem = _mismatch(pair, evidence)
    if problem:
        return problem
    content = pair.content if chosen is None else slice_content(pair.content, *chosen, "compare.json")
    if isinstance(content, str):
        return content
    others = evidence.audit or evidence.baseline
    if chosen is not None and others is not None and not same_slices(others.content, pair.content, chosen[0]):
        return _OTHER_SLICES.format(chosen[0], "the comparison")
    found = content.get(_PAIRED[metric])
    if not isinstance(found, Mapping):
        return "the comparison was made without labels"
    return {**found, "images": content.get("images")}


def _mismatch(pair: Evidence, evidence: AllEvidence) -> str:
    """Why a comparison says nothing of the change from this baseline on these images; "" if it does."""
    keys = data_keys(pair)
    for what, other in (("audit", evidence.audit), ("baseline", evidence.baseline)):
        if other is not None and (keys is None or data_keys(other) != keys):
            return f"the comparison is of other images than the {what}"
    baseline = evidence.baseline
    if baseline is not None and baseline.content["model_sha256"] != pair.content["models"]["old"]["sha256"]:
        return "the comparison's old side is another model than the baseline's"
    if pair.content["models"]["old"].get("aggregator", "mean") != "mean":
        return "the comparison's old side pools by another aggregator than the model itself"
    return ""


def _of_pair(rule: Rule, found: Mapping[str, Any], sign: float) -> _Judged:
    numbers = [found.get("difference"), found.get("old"), *(found.get("interval") or [None, None])]
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        return _Judged("the comparison has no figure for that")
    difference, old, low, high = (float(number) for number in numbers)
    ends = (sign * low, sign * high)
    images = found.get("images")
    interval = (min(ends) + 0.0, max(ends) + 0.0)
    figure = Figure(sign * difference + 0.0, interval, images if isinstance(images, int) else None)
    return _scaled(rule, figure, old)


def _scaled(rule: Rule, change: Figure, baseline: float) -> _Judged:
    """A change as it is, or as a share of the baseline."""
    if not rule.limit.relative:
        return _Judged(change, baseline=baseline)
    if baseline <= 0:
        return _Judged(f"a share of the baseline has no meaning: the baseline is {baseline:g}")
    interval = None
    if change.interval is not None:
        interval = (change.interval[0] / baseline, change.interval[1] / baseline)
    return _Judged(Figure(change.value / baseline, interval, change.images), baseline=baseline)


def _judge(rule: Rule, case: _Judged) -> RuleResult:
    figure = case.figure
    if isinstance(figure, str):
        return _result(rule, case, "not_judged", figure)
    if rule.min_images and (figure.images is None or figure.images < rule.min_images):
        found = "an unknown number of images" if figure.images is None else count(figure.images, "image")
        return _result(rule, case, "not_judged", f"{found}, and min_images is {rule.min_images:,}")
    judged = figure.value
    if rule.bound is not None:
        if figure.interval is None:
            return _result(rule, case, "not_judged", f"{rule.metric} has no interval, whose {rule.bound} end is asked")
        low, high = figure.interval
        if not low - _SLACK <= figure.value <= high + _SLACK:
            why = f"{rule.metric} is {figure.value:.6g}, outside of the interval beside it ({low:.6g} to {high:.6g})"
            return _result(rule, case, "not_judged", f"{why}: it is the interval of something else")
        judged = figure.interval[0 if rule.bound == "lower" else 1]
    limit = rule.limit.value
    met = judged >= limit - _SLACK if rule.limit.kind == "min" else judged <= limit + _SLACK
    if met:
        return _result(rule, case, "passed", "")
    return _result(rule, case, "failed" if rule.severity == "fail" else "warned", _why(rule, judged))


def _why(rule: Rule, judged: float) -> str:
    what = {"max_drop": "the drop", "max_rise": "the rise"}.get(rule.limit.kind, rule.metric)
    end = f"the {rule.bound} end of the interval of {what}" if rule.bound else what
    side = "below" if rule.limit.kind == "min" else "above"
    return f"{end} is {_said(judged, rule.limit.relative)}, {side} {_said(rule.limit.value, rule.limit.relative)}"


def _said(value: float, relative: bool) -> str:
    return f"{100 * value:.4g} % of the baseline" if relative else f"{value:.6g}"


def _worst(rule: Rule, results: list[RuleResult]) -> RuleResult:
    """The failing slice that misses most; else one that could not be judged; else the nearest to its limit."""

    def margin(result: RuleResult) -> float:
        value = result.value
        if result.bound is not None and result.interval is not None:
            value = result.interval[0 if result.bound == "lower" else 1]
        number = float(value) if isinstance(value, int | float) else 0.0
        return number - rule.limit.value if rule.limit.kind == "min" else rule.limit.value - number

    missed = [result for result in results if result.state in ("failed", "warned")]
    if missed:
        worst = min(missed, key=margin)
        others = len(missed) - 1
        more = f"; {others} more slice{'s' if others > 1 else ''} of {len(results)} too" if others else ""
        return replace(worst, reason=f"{worst.slice}: {worst.reason}{more}")
    unjudged = [result for result in results if result.state == "not_judged"]
    if unjudged:
        first = unjudged[0]
        said = f"{len(unjudged):,} of {count(len(results), 'slice')} could not be judged; {first.slice}: {first.reason}"
        return replace(first, reason=said)
    worst = min(results, key=margin)
    return replace(worst, reason=f"the worst of {count(len(results), 'slice')} is {worst.slice}")


def _result(rule: Rule, case: _Judged, state: State, reason: str) -> RuleResult:
    figure = case.figure if isinstance(case.figure, Figure) else None
    return RuleResult(
        name=rule.name,
        metric=rule.metric,
        state=state,
        value=figure.value if figure is not None else None,
        interval=figure.interval if figure is not None else None,
        limit=rule.limit.value,
        limit_kind=rule.limit.kind,
        relative=rule.limit.relative,
        bound=rule.bound,
        slice=case.slice,
        baseline=case.baseline,
        images=figure.images if figure is not None else None,
        reason=reason,
        severity=rule.severity,
        line=rule.line,
    )
