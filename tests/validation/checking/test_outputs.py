"""What a check writes: JUnit, GitHub's annotations and summary, in-toto, text, JSON."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from onnx_gapmil import CheckReport, check
from onnx_gapmil.cli import main
from onnx_gapmil.validation.checking.attestation import statement
from onnx_gapmil.validation.checking.github import step_summary, workflow_commands
from onnx_gapmil.validation.checking.junit import junit_xml
from tests.helpers.policies import SHA256, SUMMARY, Bench, changed
from tests.references import in_toto, junit_schema

RULES = """
[model]
verdict = ["exact"]

[[require]]
name = "accuracy"
metric = "top1"
min = 0.7

[[require]]
name = "more, and: 100 % <better> | `x`"
metric = "top1"
min = 0.9

[[require]]
name = "some"
metric = "top1"
min = 0.8
severity = "warn"

[[require]]
name = "nothing"
metric = "pxap"
min = 0.1
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def report_of(bench: Bench, rules: str = RULES, **options: Any) -> CheckReport:
    return check(bench.model, bench.policy(rules), audit=bench.audit, **options)


def test_junit_has_a_case_for_each_rule_in_the_shape_that_jenkins_reads(bench: Bench) -> None:
    data = junit_xml(report_of(bench), seconds=1.25)
    assert junit_schema.problems(data) == []
    (suite,) = ElementTree.fromstring(data)  # noqa: S314 - we wrote it
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "5",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
        "time": "1.250",
    }
    cases = {case.get("name"): case for case in suite}
    assert len(cases["accuracy"]) == len(cases["model.verdict"]) == 0
    (failure,) = cases["more, and: 100 % <better> | `x`"]
    assert (failure.tag, failure.get("message")) == ("failure", "top1 is 0.775, below 0.9")
    assert "gapmil.toml, line 13" in (failure.text or "")
    (warning,) = cases["some"]
    assert (warning.tag, (warning.text or "")[:8]) == ("system-out", "warning:")
    (error,) = cases["nothing"]
    assert error.tag == "error"
    assert "not judged: pxap was not measured" in (error.get("message") or "")


def test_junit_of_what_may_stay_unjudged_is_skipped_and_still_not_passed(bench: Bench) -> None:
    data = junit_xml(report_of(bench, allow_unjudged=True))
    assert junit_schema.problems(data) == []
    (suite,) = ElementTree.fromstring(data)  # noqa: S314 - we wrote it
    assert (suite.get("errors"), suite.get("skipped")) == ("0", "1")
    assert [child.tag for child in suite[-1]] == ["skipped"]


def test_the_schema_can_fail() -> None:
    wrong = b'<testsuites skipped="1"><testsuite name="a"><testcase><b/></testcase></testsuite></testsuites>'
    assert len(junit_schema.problems(wrong)) == 7


def test_letters_that_xml_cannot_hold_do_not_tear_the_file(bench: Bench) -> None:
    model = bench.folder / "a\x01b.onnx"
    model.write_bytes(bench.model.read_bytes())
    report = check(model, bench.policy(RULES), audit=bench.audit)
    assert junit_schema.problems(junit_xml(report)) == []


def test_annotations_stand_at_the_policys_lines(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(bench.folder))
    lines = workflow_commands(report_of(bench))
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::error"]
    assert lines[0] == (
        "::error file=gapmil.toml,line=13,title=FAILED%3A more%2C and%3A 100 %25 <better> | `x`"
        "::top1 is 0.775, below 0.9"
    )
    assert "line=24" in lines[2]
    assert workflow_commands(report_of(bench, allow_unjudged=True))[2].startswith("::warning ")


def test_a_step_summary_is_a_table_that_names_cannot_break(bench: Bench) -> None:
    text = step_summary(report_of(bench))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 5
    assert all(row.replace("\\|", "").count("|") == 7 for row in rows)
    assert "&lt;better&gt; \\| \\`x\\`" in text
    assert "### onnx-gapmil check: FAILED" in text


def test_a_statement_binds_model_policy_and_results(bench: Bench) -> None:
    report = report_of(bench)
    found = statement(report)
    assert in_toto.problems(found) == []
    assert found["subject"] == [{"name": "model.onnx", "digest": {"sha256": SHA256}}]
    digests = {entry["name"]: entry["digest"]["sha256"] for entry in found["predicate"]["configuration"]}
    assert digests["gapmil.toml"] == hashlib.sha256((bench.folder / "gapmil.toml").read_bytes()).hexdigest()
    audit = (bench.audit / "summary.json").read_bytes()
    assert digests["audit: summary.json"] == hashlib.sha256(audit).hexdigest()
    predicate = found["predicate"]
    assert predicate["result"] == "FAILED"
    assert predicate["passedTests"] == ["model.verdict", "accuracy"]
    assert predicate["warnedTests"] == ["some"]
    assert predicate["failedTests"][1].startswith("nothing (not judged: pxap was not measured")


@pytest.mark.parametrize(
    ("rules", "allowed", "result"),
    [
        ("min = 0.7", False, "PASSED"),
        ('min = 0.9\nseverity = "warn"', False, "WARNED"),
        ("min = 0.7\nmin_images = 500", False, "FAILED"),
        ("min = 0.7\nmin_images = 500", True, "WARNED"),
        ("min = 0.9", True, "FAILED"),
    ],
)
def test_a_statement_is_written_whatever_the_outcome(bench: Bench, rules: str, allowed: bool, result: str) -> None:
    file = bench.folder / "statement.json"
    report_of(bench, f'[[require]]\nmetric = "top1"\n{rules}', allow_unjudged=allowed, attestation=file)
    found = json.loads(file.read_text("utf-8"))
    assert in_toto.problems(found) == []
    assert found["predicate"]["result"] == result


def test_the_in_toto_library_reads_the_statement(bench: Bench) -> None:
    json_format = pytest.importorskip("google.protobuf.json_format")
    pytest.importorskip("in_toto_attestation", reason="in-toto-attestation is not installed")
    from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    found = statement(report_of(bench))
    Statement.copy_from_pb(json_format.ParseDict(found, statement_pb2.Statement())).validate()
    assert json_format.ParseDict(found["predicate"], TestResult()).result == "FAILED"


def arguments(bench: Bench, *more: object) -> list[str]:
    bench.policy(RULES)
    policy = bench.folder / "gapmil.toml"
    return [str(part) for part in ("check", bench.model, "--policy", policy, "--audit", bench.audit, *more)]


def test_the_command_says_every_rule_and_leaves_with_its_code(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(bench)) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[0] == ("model.onnx by gapmil.toml: FAILED (2 passed, 1 failed, 1 warned, 1 not judged)")
    assert "0.775 (95 % interval 0.734 to 0.815), at least 0.9, 400 images" in out
    assert re.search(r"passed +model\.verdict +exact, asked: exact\n", out)
    assert "top1 is 0.775, below 0.9 (line 13)" in out


def test_names_of_slices_move_no_terminal(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = {"evil\x1b[2J\u202e": {"images": 3, "top1": 0.1}}
    bench.write("audit/summary.json", changed(SUMMARY, slices={"camera": hostile}))
    bench.policy('[[require]]\nmetric = "top1"\nmin = 0.5\nslice = "worst:camera"')
    policy = str(bench.folder / "gapmil.toml")
    assert main(["check", str(bench.model), "--policy", policy, "--audit", str(bench.audit)]) == 1
    out = capsys.readouterr().out
    assert "evil\\x1b[2J\\u202e" in out
    assert "\x1b" not in out


def test_json_is_one_document_with_every_rule(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(bench, "--json", "--allow-unjudged")) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["schema_version"], found["outcome"]) == (1, "failed")
    needed = {"name", "metric", "state", "value", "interval", "limit", "images", "reason"}
    assert all(needed <= rule.keys() for rule in found["rules"])
    assert [rule["state"] for rule in found["rules"]] == ["passed", "passed", "failed", "warned", "not_judged"]
    assert found["rules"][2]["interval"] == [0.734, 0.815]


def test_github_gets_annotations_and_a_summary_and_stdout_stays_json(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = bench.folder / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert main(arguments(bench, "--json")) == 1
    printed = capsys.readouterr()
    json.loads(printed.out)
    assert printed.err.count("::error ") == 2
    assert summary.read_text("utf-8").startswith("before\n### onnx-gapmil check")
    assert main(arguments(bench)) == 1
    assert "::error file=" in capsys.readouterr().out


def test_files_are_written_where_asked(bench: Bench) -> None:
    junit, statement_file = bench.folder / "out.xml", bench.folder / "out.json"
    assert main(arguments(bench, "--junit", junit, "--attestation", statement_file)) == 1
    assert junit_schema.problems(junit.read_bytes()) == []
    assert in_toto.problems(json.loads(statement_file.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "more", [("--against", "old.onnx"), ("--data", "x", "--audit", "y"), ("--policy", "absent.toml")]
)
def test_what_does_not_fit_together_is_exit_code_2(
    bench: Bench, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(bench, *more)) == 2
    assert capsys.readouterr().out == ""
