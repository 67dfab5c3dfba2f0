"""docs/validation.md: its policy is read, its keys are those of a real comparison, its options are there."""

from __future__ import annotations

import re
from pathlib import Path

from onnx_gapmil import Policy, compare
from onnx_gapmil.cli import main
from tests.helpers.compared import changed_model, write_data
from tests.helpers.scene_data import MODEL

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "validation.md").read_text("utf-8")


def test_the_policy_of_the_page_has_every_key() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    policy = Policy.parse(block.replace('"..."', f'"{"0" * 64}"'))
    assert len(policy.model) == 5
    assert policy.rules[0].name == "at night"
    assert Policy.load(ROOT / "docs" / "recipes" / "gapmil.toml").rules


def test_the_keys_of_the_page_are_those_of_a_comparison(tmp_path: Path) -> None:
    found = compare(
        MODEL, changed_model(tmp_path / "new"), write_data(tmp_path / "data", 1), tmp_path / "out", gallery=0
    )
    content = found.to_json()
    rows = re.findall(r"^\| (`[^|]+`(?:, `[^|]+`)*) \|", PAGE, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([a-z0-9_.]+)`", row)]
    assert len(named) > 15
    for name in named:
        part: object = content
        for key in name.split("."):
            parents = (part, content.get("flips"), content.get("drift"), content["grids"]["moved"], content["models"])
            part = next(place[key] for place in parents if isinstance(place, dict) and key in place)


def test_the_options_of_the_page_are_there(capsys) -> None:
    helps = {}
    for verb in ("compare", "check", "rewrite", "verify"):
        assert main([verb, "--help"]) == 0
        helps[verb] = capsys.readouterr().out
    named = set(re.findall(r"`?(--[a-z][a-z-]+)", PAGE)) - {"--key", "--statement", "--count", "--seed", "--out"}
    assert named
    assert [option for option in sorted(named) if not any(option in text for text in helps.values())] == []


def test_links_of_the_page_are_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", PAGE)
    assert [link for link in links if not (ROOT / "docs" / link).resolve().exists()] == []
