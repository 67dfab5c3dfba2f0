"""Errors by their message: every kind of error has its section, and every message that is explained is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnx_gapmil.cli import failure
from onnx_gapmil.lift.verdict import ADVICE
from tools.messages import errors, kinds, messages_page, refusals

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text("utf-8")
FAILURE = Path(failure.__file__).read_text("utf-8")


def codes() -> set[str]:
    """What ``error.code`` may be: of exceptions, and of what is told without one."""
    told = re.findall(r'_ended\("(\w+)"|_print_error\("(\w+)"|return "(\w+)", f?"Error|return "(bug)"', FAILURE)
    child = re.search(r"message = \{(.*?)\}\[what\]", FAILURE, re.DOTALL)
    assert child is not None
    return {*kinds(), *("".join(each) for each in told), *re.findall(r'^ +"(\w+)": ', child[1], re.MULTILINE)}


def test_every_code_of_an_error_has_its_row_and_its_section() -> None:
    rows = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (\[.*?\)) \|", PAGE, re.MULTILINE))))
    assert rows - {"stopped", "interrupted"} >= {"usage", "model"}
    assert rows & codes() == codes()
    assert {row for row in rows if "-" not in row} == codes() | {row for row in rows if row in ADVICE}
    sections = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^## (.*)$", PAGE, re.MULTILINE))))
    assert sections == codes() - {"unsupportedhead"}


def test_the_row_of_an_exception_says_its_exit_code() -> None:
    for code, error in kinds().items():
        row = re.search(rf"^\| \[`{code}`\].*$", PAGE, re.MULTILINE)
        assert row is not None
        assert f"`{error.__name__}`" in row[0]
        assert code == "gapmil" or f"| {error.exit_code} |" in row[0]


def test_every_code_of_a_refusal_is_listed_and_leads_to_its_section() -> None:
    assert re.findall(r"^\| \[`([a-z-]+)`\]\(refusals\.md#\1\)", PAGE, re.MULTILINE) == list(ADVICE)


@pytest.mark.parametrize("line", re.findall(r"^- `.*$", PAGE, re.MULTILINE))
def test_a_message_that_is_explained_is_one(line: str) -> None:
    """A message that is worded anew without its entry here fails."""
    said = re.match(r"- `([^`]*)`", line)
    assert said is not None
    known = [message.text for message in errors()] + [" ".join(re.sub(r'"\s+"', "", FAILURE).split())]
    click = ["No such command", "No such option"]  # of click
    assert said[1] in click or any(said[1] in " ".join(text.split()) for text in known)


def test_the_page_of_all_messages_has_them() -> None:
    page = messages_page()
    assert len(errors()) > 400
    assert len(refusals()) > 100
    assert "- `` …: no such file, and an ONNX model was expected; check the path. ``" in page
    assert "## refusal: `class-token`" in page
    assert {message.kind for message in errors()} <= set(kinds())
