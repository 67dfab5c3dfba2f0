"""What keeps a state from being released, and the files that a release carries."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from onnx_gapmil.version import __version__
from tools import release

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("changelog", "why"),
    [
        ("## [Unreleased]\n\n## [0.0.1]\n", "no section"),
        (f"## [Unreleased]\n\n- More.\n\n## [{__version__}]\n\n- Much.\n", "in no version"),
    ],
)
def test_the_changelog_must_speak_of_the_version_and_of_nothing_later(changelog: str, why: str) -> None:
    with pytest.raises(release.ReleaseError, match=why):
        release.require_entry(changelog)


@pytest.mark.parametrize("begin", ["", "## [Unreleased]\n\n"])
def test_a_changelog_that_does_passes(begin: str) -> None:
    release.require_entry(f"# Changelog\n\n{begin}## [{__version__}] - 2026-12-01\n\n- Much.\n\n## [0.0.1]\n")


def test_a_command_that_fails_says_what_it_printed() -> None:
    with pytest.raises(release.ReleaseError, match="no such thing"):
        release.run("sh", "-c", "echo no such thing; exit 3")


def test_sums_are_those_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "DIST", tmp_path)
    (tmp_path / "a.whl").write_bytes(b"wheel")
    release.write_sums([tmp_path / "a.whl"])
    assert (tmp_path / "SHA256SUMS").read_text("utf-8") == f"{hashlib.sha256(b'wheel').hexdigest()}  a.whl\n"


def test_the_citation_names_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert cited["references"][0]["url"] == "https://arxiv.org/abs/2606.14555"
    assert {"message", "title", "authors"} <= cited.keys()


def test_the_citation_the_package_and_the_changelog_say_the_same() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["authors"] == cited["authors"]
    assert set(project["urls"].values()) == {cited["references"][0]["url"]}
    assert str(cited["version"]) == __version__
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## [{__version__}] - {cited['date-released']}" in changelog
    assert "version" in project["dynamic"]


def test_every_licence_that_is_listed_is_there() -> None:
    page = (ROOT / "docs" / "project" / "licences.md").read_text("utf-8")
    places = re.findall(r"^\|[^|]*\| `([\w/]+/)` \|", page, re.MULTILINE)
    assert len(places) == 5
    assert all((ROOT / place).is_dir() for place in places)
    fonts = [*(ROOT / places[0]).glob("Noto*")]
    assert f"({len(fonts)} files)" in page
    scripts = (ROOT / "onnx_gapmil" / "show" / "html" / "assets").rglob("*.*")
    assert not [path for path in scripts if re.search(r"copyright|@license", path.read_text("utf-8"), re.IGNORECASE)]


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda p: p.name)
def test_an_issue_form_is_one(path: Path) -> None:
    form = yaml.safe_load(path.read_text("utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    assert len({part["id"] for part in form["body"]}) == len(form["body"])
    assert {part["type"] for part in form["body"]} <= {"textarea", "input", "dropdown", "checkboxes", "markdown"}
