"""What an in-toto statement of test results must hold, by its specification.

Statement v1 (in-toto/attestation, spec/v1/statement.md), ResourceDescriptor (spec/v1/resource_descriptor.md), predicate
Test Result v0.1 (spec/predicates/test-result.md).
"""

from __future__ import annotations

import re
from typing import Any

_SHA256 = re.compile(r"[0-9a-f]{64}")


def problems(statement: Any) -> list[str]:
    """Where a statement breaks the specification; empty if it does not."""
    found = []
    if statement.get("_type") != "https://in-toto.io/Statement/v1":
        found.append("another type of statement")
    if statement.get("predicateType") != "https://in-toto.io/attestation/test-result/v0.1":
        found.append("another predicate")
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or not subjects:
        found.append("no subject")
    for entry in subjects or []:
        if not _SHA256.fullmatch(entry.get("digest", {}).get("sha256", "")):
            found.append("a subject without its SHA-256")
    predicate = statement.get("predicate", {})
    if predicate.get("result") not in ("PASSED", "WARNED", "FAILED"):
        found.append("no result")
    configuration = predicate.get("configuration")
    if not isinstance(configuration, list) or not configuration:
        found.append("no configuration")
    for entry in configuration or []:
        if not (entry.get("name") or entry.get("uri")) or not _SHA256.fullmatch(entry["digest"]["sha256"]):
            found.append("a configuration without name or digest")
    for name in ("passedTests", "warnedTests", "failedTests"):
        tests = predicate.get(name, [])
        if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
            found.append(f"{name} is no list of texts")
    unknown = set(predicate) - {"result", "configuration", "url", "passedTests", "warnedTests", "failedTests"}
    return [*found, *(f"{name} is not of the predicate" for name in unknown)]
