"""The site: what holds it against the code can fail, and its first pages run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from onnx_gapmil import __all__ as public
from onnx_gapmil.cli import VERBS
from tools.check_site import broken_links, missing_entries

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", ["start.md", "howto/look.md", "howto/rewrite.md"])
def test_the_python_of_the_first_pages_runs_and_its_comments_are_true(
    page: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})  # noqa: S102 - our own page
        said = [line.split("  # ")[1].strip() for line in block.splitlines() if line.startswith("print(")]
        assert capsys.readouterr().out.splitlines() == said


def test_every_page_is_in_the_sites_index() -> None:
    trees = [(DOCS / name).read_text("utf-8") for name in ("index.md", "measures.md")]
    listed = set(re.findall(r"^[a-z/-]+$", "\n".join(trees), re.MULTILINE))
    pages = {
        str(path.relative_to(DOCS).with_suffix(""))
        for path in [*DOCS.rglob("*.md"), *DOCS.glob("*.ipynb")]
        if "_build" not in path.parts
    }
    unlisted = {page for page in pages - listed - {"index"} if not page.startswith("benchmarks/")}
    assert not unlisted
    assert listed <= pages


def test_every_extra_has_its_size() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    listed = re.findall(r"^\| `onnx-gapmil\[(\w+)\]` \|", (DOCS / "start.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(extras)


def test_every_public_name_has_its_place_in_the_library() -> None:
    named = re.findall(
        r"^\.\. auto\w+:: onnx_gapmil\.(\w+)$", (DOCS / "reference" / "library.md").read_text("utf-8"), re.M
    )
    assert sorted(named) == sorted(name for name in public if not name.startswith("__"))


def site(folder: Path, **pages: str) -> Path:
    reference = "".join(f'<p id="onnx_gapmil.{name}">' for name in public)
    known = {"reference/cli": "", "reference/library": reference, **{k.replace("_", "/"): v for k, v in pages.items()}}
    for name, text in known.items():
        path = folder / f"{name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    made = site(
        tmp_path,
        index='<h1 id="a"><a href="other.html#b">1</a><a href="other.html#c">2</a><a href="gone.html">3</a>'
        '<a href="#a">4</a><a href="#z">5</a><a href="https://example.invalid/x">6</a><img src="p%20q.png">',
        other='<h1 id="b">',
    )
    (tmp_path / "p q.png").write_bytes(b"")
    assert list(broken_links(made)) == [
        "index.html: other.html#c: there is no such anchor",
        "index.html: gone.html leads nowhere",
        "index.html: #z: there is no such anchor",
    ]


def test_verbs_flags_and_names_without_an_entry_are_named(tmp_path: Path) -> None:
    made = site(
        tmp_path,
        reference_cli='<p id="onnx-gapmil-doctor"><p id="cmdoption-onnx-gapmil-doctor-json">',
        reference_library="".join(f'<p id="onnx_gapmil.{name}">' for name in public if name != "audit"),
    )
    found = list(missing_entries(made))
    assert "reference/library: no entry of 'audit'" in found
    assert "reference/cli: no entry of 'doctor --quiet'" in found
    assert "reference/cli: no entry of 'doctor --json'" not in found
    assert sum("no section on" in line for line in found) == len(VERBS) - 1
