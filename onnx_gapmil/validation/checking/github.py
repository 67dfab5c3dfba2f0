"""A check for GitHub Actions: annotations at the policy's lines for rules that are not met, and the step's summary."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError
from onnx_gapmil.validation.checking.text import SAID_OUTCOME, SAID_STATE, said_limit, said_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.validation.checking.result import CheckReport, RuleResult


def in_actions(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this runs in GitHub Actions."""
    return (os.environ if environment is None else environment).get("GITHUB_ACTIONS") == "true"


def workflow_commands(report: CheckReport) -> list[str]:
    """Workflow commands, one a line: errors and warnings at the policy's lines.

    A rule that could not be judged is an error, or a warning where that was allowed.
    """
    lines = []
    for rule in report.rules:
        if rule.state == "passed":
            continue
        warned = rule.state == "warned" or (rule.state == "not_judged" and report.allow_unjudged)
        kind = "warning" if warned else "error"
        place = f"file={_property(_from_workspace(report.policy.path))},line={rule.line}"
        title = _property(f"{SAID_STATE[rule.state]}: {rule.name}")
        lines.append(f"::{kind} {place},title={title}::{_data(rule.reason)}")
    return lines


def write_step_summary(report: CheckReport, environment: Mapping[str, str] | None = None) -> None:
    """Append a table to the step's summary, where there is a file for it.

    Raises:
        InputError: the file cannot be written.
    """
    path = (os.environ if environment is None else environment).get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(step_summary(report))
    except OSError as error:
        raise InputError(f"{path}: the step's summary cannot be written: {error.strerror or error}.") from error


def step_summary(report: CheckReport) -> str:
    """A check in Markdown."""
    lines = [
        f"### onnx-gapmil check: {SAID_OUTCOME[report.outcome]}",
        "",
        f"`{_code(report.model.name)}` by `{_code(report.policy.name)}`",
        "",
        "| | rule | value | limit | images | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(rule) for rule in report.rules]
    return "\n".join(lines) + "\n\n"


def _row(rule: RuleResult) -> str:
    images = f"{rule.images:,}" if rule.images is not None else ""
    cells = (SAID_STATE[rule.state], rule.name, said_value(rule), said_limit(rule), images, rule.reason)
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """Text that neither ends a cell nor is taken for Markdown or HTML."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\|`*_[]~" else _HTML.get(letter, letter) for letter in flat)


_HTML = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


def _from_workspace(path: Path) -> str:
    """The policy's path as the repository has it, so that the annotation finds its line."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if workspace:
        try:
            return path.resolve().relative_to(Path(workspace).resolve()).as_posix()
        except ValueError:
            return path.as_posix()
    return path.as_posix()


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
