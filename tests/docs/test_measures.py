"""Each measure has its page, and what the page computes by NumPy and scikit-learn is the program's own figure."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from onnx_gapmil.auditing.summary import AuditSummary, Conditions
from onnx_gapmil.files.serial import JsonKey
from onnx_gapmil.validation.comparing.figures import PairFigures
from onnx_gapmil.validation.comparing.result import Comparison

ROOT = Path(__file__).resolve().parents[2]
OVERVIEW = ROOT / "docs" / "measures.md"
PAGES = sorted((ROOT / "docs" / "measures").glob("*.md"))
#: What `summary.json` and `compare.json` say of the conditions under which they measured.
CONDITIONS = {each.name for each in fields(Conditions)} - {"aggregators", "proof", "size", "stitch"}
COMPARED_UNDER = {"same", "models", "aligned_classes", "notes", "classes", "slices", "slice_columns"} | CONDITIONS
#: Measures of the head, which stand among the conditions.
OF_THE_HEAD = {"head.placeless_share", "head.pool_weights", "head.pool"}


def keys_of(page: Path, file: str) -> set[str]:
    """What a page says that it is about."""
    row = re.search(rf"^\| in `{file}` \|(.*)\|$", page.read_text("utf-8"), re.MULTILINE)
    return set(re.findall(r"`([\w.]+)`", row[1])) if row else set()


def python_of(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader stands: the samples, and the scenes that the overview says how to make."""
    made = tmp_path_factory.mktemp("measures")
    (made / "sample_models").symlink_to(ROOT / "sample_models", target_is_directory=True)
    (command,) = re.findall(r"`python (sample_models/scenes.py [^`]+)`", OVERVIEW.read_text("utf-8"))
    subprocess.run([sys.executable, *command.split()], cwd=made, check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def begun(folder: Path) -> dict[str, Any]:
    """What the overview's own lines leave behind, from which each page goes on."""
    found: dict[str, Any] = {}
    with contextlib.chdir(folder):
        for block in python_of(OVERVIEW):
            exec(compile(block, "measures.md", "exec"), found)  # noqa: S102 - our own page
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_check_of_a_page_finds_the_programs_figure(page: Path, begun: dict[str, Any], folder: Path) -> None:
    blocks = python_of(page)
    assert any("assert " in block for block in blocks)
    known = dict(begun)
    with contextlib.chdir(folder):
        for block in blocks:
            exec(compile(block, page.name, "exec"), known)  # noqa: S102 - our own page


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_has_all_parts_and_is_linked_from_the_overview(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Formula", "Control", "Check it", "When it lies"]
    assert re.findall(r"^\| (source|best|control|interval) \|", text, re.MULTILINE) == [
        "source",
        "best",
        "control",
        "interval",
    ]
    keys = keys_of(page, "summary.json") | {f"compare.{key}" for key in keys_of(page, "compare.json")}
    row = re.search(rf"^\|.*\]\(measures/{page.name}\) \|(.*)\|$", OVERVIEW.read_text("utf-8"), re.MULTILINE)
    assert row is not None
    said = set(re.findall(r"`([\w.]+)`", row[1]))
    assert said == {key for key in keys if key not in ("compare.intervals", "compare.counts")}


def test_every_figure_of_an_audit_and_of_a_comparison_has_one_page() -> None:
    said = [key for page in PAGES for key in keys_of(page, "summary.json")]
    assert len(said) == len(set(said))
    measured = {each.name for each in fields(AuditSummary)} - CONDITIONS - {"classes"}
    assert set(said) == measured | OF_THE_HEAD
    compared = [key for page in PAGES for key in keys_of(page, "compare.json")]
    assert len(compared) == len(set(compared))
    assert set(compared) == {each.name for each in fields(Comparison)} - COMPARED_UNDER
    assert set(compared) == {each.name for each in fields(PairFigures)} - {"images"}


@pytest.mark.parametrize("file", ["summary.json", "compare.json"])
def test_every_key_within_a_figure_is_on_its_page(file: str) -> None:
    kind = AuditSummary if file == "summary.json" else Comparison
    for page in PAGES:
        for key in keys_of(page, file):
            if key in ("slices", "intervals", "counts"):  # of slices and figures that have their own pages
                continue
            text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
            words = {*re.findall(r"\w+", text), *re.findall(r"iou_0\.\d", text)}
            missing = {name for name in names_within(at(kind, key)) if name not in words}
            assert not missing, f"{page.name} does not say what {sorted(missing)} of {key} are"


def at(kind: Any, key: str) -> Any:
    """The type of a figure by its path."""
    for name in key.split("."):
        kind = get_type_hints(kind, include_extras=True)[name]
    return kind


def names_within(kind: Any) -> Iterator[str]:
    """Every key below a figure, as JSON spells it."""
    if hasattr(kind, "__metadata__"):
        yield from names_within(get_args(kind)[0])
    elif get_origin(kind) is not None or isinstance(kind, types.UnionType):
        for part in get_args(kind):
            yield from names_within(part)
    elif is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        for each in fields(kind):
            own = hints[each.name]
            named = [note.name for note in getattr(own, "__metadata__", ()) if isinstance(note, JsonKey)]
            flat = hasattr(own, "__metadata__") and not named
            if not flat:
                yield named[0] if named else each.name
            yield from names_within(own)


def test_a_key_that_a_page_lacks_is_found() -> None:
    assert set(names_within(at(AuditSummary, "localization"))) > {
        "iou_0.3",
        "oracle",
        "thresholds",
        "centre_box",
        "top1",
    }
    assert list(names_within(at(AuditSummary, "macro"))) == ["top1", "top5"]
