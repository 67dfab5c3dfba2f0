"""Every refusal has its section in docs/refusals.md."""

from __future__ import annotations

import re
from pathlib import Path

from onnx_gapmil.lift.verdict import ADVICE

ROOT = Path(__file__).resolve().parents[2]


def test_every_refusal_code_has_its_section_and_no_section_lacks_its_code() -> None:
    text = (ROOT / "docs" / "refusals.md").read_text(encoding="utf-8")
    assert re.findall(r"^## `([a-z-]+)`$", text, re.MULTILINE) == list(ADVICE)
    for section in text.split("\n## ")[1:]:
        assert "*Example:*" in section
        assert "*Do:*" in section


def test_every_refusal_code_in_the_source_is_a_known_one() -> None:
    used = set()
    for path in (ROOT / "onnx_gapmil").rglob("*.py"):
        used |= set(re.findall(r'refuse\(\s*"([a-z-]+)"', path.read_text(encoding="utf-8")))
    assert used <= set(ADVICE)
    assert len(used) > 8
