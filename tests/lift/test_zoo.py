"""Real exports: one of each exporter and kind of head, the smallest file first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_gapmil.errors import UnsupportedHeadError
from onnx_gapmil.proof import rewrite

pytestmark = pytest.mark.shared


def chosen(folder: Path, expect: str) -> list[dict[str, str]]:
    """The smallest file of each framework and exporter with this expectation."""
    entries = [json.loads(line) for line in (folder / "catalog.jsonl").read_text().splitlines()]
    best: dict[tuple[str, str], dict[str, str]] = {}
    for entry in sorted(entries, key=lambda entry: entry["bytes"]):
        if entry["expect"] == expect:
            best.setdefault((entry["framework"], entry["exporter"]), entry)
    return list(best.values())


@pytest.mark.parametrize("verdict", ["exact", "conditional"])
def test_smallest_export_of_each_exporter_is_lifted_and_proved(verdict: str, shared: Path) -> None:
    entries = chosen(shared / "zoo", verdict)
    assert len(entries) >= 3
    wrong = []
    for entry in entries:
        try:
            found = rewrite(shared / "zoo" / entry["file"], write=False)
        except UnsupportedHeadError as error:
            wrong.append(f"{entry['file']}: {error}")
            continue
        if found.verdict != verdict:
            wrong.append(f"{entry['file']}: {found.verdict}")
    assert wrong == []


def test_smallest_refused_export_of_each_exporter_is_refused(shared: Path) -> None:
    entries = chosen(shared / "zoo", "refused")
    assert entries
    for entry in entries:
        with pytest.raises(UnsupportedHeadError) as caught:
            rewrite(shared / "zoo" / entry["file"], write=False)
        assert caught.value.refusal.node, entry["file"]
