"""A check as an unsigned in-toto Statement, ready to be signed by ``cosign`` or ``model-signing``.

Statement v1 (https://in-toto.io/Statement/v1) with the test-result predicate
(https://in-toto.io/attestation/test-result/v0.1): the model by its SHA-256, the policy and the results that it was
judged by as configuration, and each rule by name. It is written whatever the outcome; a rule that could not be judged
stands among the failed ones, with its reason, or among the warned ones where that was allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx_gapmil.validation.checking.result import CheckReport, NamedFile, RuleResult

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"


def statement(report: CheckReport) -> dict[str, Any]:
    """The statement as JSON types.

    Args:
        report: what was found.
    """
    warned = [_said(rule) for rule in report.rules if rule.state == "warned"]
    failed = [_said(rule) for rule in report.rules if rule.state == "failed"]
    unjudged = [_said(rule) for rule in report.rules if rule.state == "not_judged"]
    (warned if report.allow_unjudged else failed).extend(unjudged)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [_descriptor(report.model)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": "FAILED" if failed else "WARNED" if warned else "PASSED",
            "configuration": [_descriptor(report.policy), *(_descriptor(entry) for entry in report.inputs)],
            "passedTests": [rule.name for rule in report.rules if rule.state == "passed"],
            "warnedTests": warned,
            "failedTests": failed,
        },
    }


def _descriptor(entry: NamedFile) -> dict[str, Any]:
    return {"name": entry.name, "digest": {"sha256": entry.sha256}}


def _said(rule: RuleResult) -> str:
    """A rule's name; of one that was not judged also why."""
    return f"{rule.name} (not judged: {rule.reason})" if rule.state == "not_judged" else rule.name
