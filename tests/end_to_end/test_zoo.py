"""Every model of the shared zoo, checked against the vendor's own head."""

from __future__ import annotations

import pytest

from tests.references import zoo

#: Cells compared in each grid; ``benchmarks.zoo_table`` compares more.
CELLS = 24


def _entries() -> list[object]:
    if not (zoo.ZOO / "catalog.jsonl").is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason="there is no shared zoo beside the checkout"))]
    return [pytest.param(entry, id=entry["file"]) for entry in zoo.read_catalogue(zoo.ZOO)]


@pytest.mark.shared
@pytest.mark.parametrize("entry", _entries())
def test_zoo_file_is_lifted_right_or_refused(entry: dict[str, object]) -> None:
    row = zoo.check_file(entry, zoo.ZOO, CELLS)
    assert row.got not in ("wrong", "crashed"), row.why
    if row.gate:
        assert row.met, f"{row.expect} expected, {row.got} {row.code}: {row.why}"
