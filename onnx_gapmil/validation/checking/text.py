"""A check in lines of text: no colours, no frames, the same in a terminal and in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import count

if TYPE_CHECKING:
    from onnx_gapmil.validation.checking.result import CheckReport, RuleResult, State

SAID_STATE: dict[State, str] = {"passed": "passed", "failed": "FAILED", "warned": "warned", "not_judged": "NOT JUDGED"}
SAID_OUTCOME = {"passed": "passed", "failed": "FAILED", "not_judged": "NOT JUDGED"}
_KINDS = {"min": "at least", "max": "at most", "max_drop": "drop at most", "max_rise": "rise at most", "is": "is"}


def check_lines(report: CheckReport) -> list[str]:
    """The outcome, then a line for each rule, then why those that are not met are not."""
    counts = [f"{report.count(state)} {said.lower()}" for state, said in SAID_STATE.items() if report.count(state)]
    lines = [f"{report.model.name} by {report.policy.name}: {SAID_OUTCOME[report.outcome]} ({', '.join(counts)})", ""]
    width = max((len(rule.name) for rule in report.rules), default=0)
    for rule in report.rules:
        facts = [said for said in (said_value(rule), said_limit(rule)) if said]
        if rule.images is not None:
            facts.append(count(rule.images, "image"))
        lines.append(f"  {SAID_STATE[rule.state]:<10}  {rule.name:<{width}}  {', '.join(facts)}".rstrip())
        if rule.reason:
            lines.append(f"              {rule.reason} (line {rule.line})")
    return [visible(line) for line in lines]


def said_value(rule: RuleResult) -> str:
    """The figure with its interval; "" where there is none."""
    if rule.value is None:
        return ""
    if not isinstance(rule.value, int | float) or isinstance(rule.value, bool):
        return str(rule.value).lower() if isinstance(rule.value, bool) else str(rule.value)
    said = _number(rule.value, rule.relative)
    if rule.interval is not None:
        low, high = (_number(end, rule.relative) for end in rule.interval)
        said += f" (95 % interval {low} to {high})"
    return said


def said_limit(rule: RuleResult) -> str:
    """What the figure was held against."""
    limit = rule.limit
    if isinstance(limit, list):
        return f"asked: {' or '.join(limit)}"
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        return f"asked: {str(limit).lower()}"
    return f"{_KINDS[rule.limit_kind]} {_number(limit, rule.relative)}"


def _number(value: float, relative: bool) -> str:
    return f"{100 * value:.4g} % of the baseline" if relative else f"{value:.4g}"
