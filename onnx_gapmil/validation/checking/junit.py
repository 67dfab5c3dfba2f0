"""A check as JUnit XML, as Jenkins and GitLab read it: a test case for each rule.

A failed rule is a ``failure``, one that could not be judged an ``error`` (``skipped`` where that was allowed), a
warning a passed case with ``system-out``. The line of the policy stands in the text: not every reader knows more
attributes than those of the schema that Jenkins publishes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from onnx_gapmil.validation.checking.result import CheckReport, RuleResult

#: What XML 1.0 has no way to write.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(report: CheckReport, *, seconds: float = 0.0) -> bytes:
    """The report as a file's bytes.

    Args:
        report: what was found.
        seconds: that the check took.
    """
    errors = 0 if report.allow_unjudged else report.count("not_judged")
    skipped = report.count("not_judged") - errors
    counts = {
        "tests": str(len(report.rules)),
        "failures": str(report.count("failed")),
        "errors": str(errors),
        "time": f"{seconds:.3f}",
    }
    suites = ElementTree.Element("testsuites", {"name": "onnx-gapmil check", **counts})
    suite = ElementTree.SubElement(
        suites, "testsuite", {"name": _clean(report.policy.name), **counts, "skipped": str(skipped)}
    )
    for rule in report.rules:
        _case(suite, rule, report)
    ElementTree.indent(suites)
    text: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _case(suite: ElementTree.Element, rule: RuleResult, report: CheckReport) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": _clean(report.model.name), "name": _clean(rule.name), "time": "0"}
    )
    said = _clean(f"{rule.reason} ({report.policy.name}, line {rule.line})")
    if rule.state == "failed":
        ElementTree.SubElement(case, "failure", {"message": _clean(rule.reason), "type": rule.metric}).text = said
    elif rule.state == "not_judged":
        kind = "skipped" if report.allow_unjudged else "error"
        found = ElementTree.SubElement(case, kind, {"message": _clean(f"not judged: {rule.reason}")})
        if kind == "error":
            found.set("type", "not_judged")
            found.text = said
    elif rule.reason:
        warning = "warning: " if rule.state == "warned" else ""
        ElementTree.SubElement(case, "system-out").text = warning + said


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
