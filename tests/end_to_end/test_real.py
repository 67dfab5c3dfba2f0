"""Real classifiers by others: lifted or refused as their manifest says, and the grid finds what is in the pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.references import real

pytestmark = pytest.mark.shared

MOBILENET = "in1k_mobilenetv2_100_224_tflite_fp32"


def _entry(name: str) -> dict[str, object]:
    return next(entry for entry in real.read_manifest(real.REAL) if Path(entry["file"]).stem == name)


@pytest.mark.parametrize("name", real.REQUIRED)
def test_real_model_is_lifted_or_refused_as_its_manifest_says(name: str) -> None:
    row = real.check_model(_entry(name), real.REAL, max_cells=12)
    assert row.met, f"{row.expected} expected, {row.got} {row.code}: {row.why}"
    if row.got != "refused":
        assert row.residual is not None
        assert row.residual <= real.tolerance(_entry(name))


def test_grid_finds_ten_of_thirteen_objects_where_the_image_names_five() -> None:
    objects = real.several_objects(_entry(MOBILENET), real.REAL)
    assert tuple(sum(thing[key] for thing in objects) for key in ("grid", "top1", "top5")) == real.OBJECTS


def test_mean_over_cells_classifies_as_the_model_does() -> None:
    right = real.accuracy(_entry(MOBILENET), real.REAL, 40)
    assert (right["top1"] == right["grid_top1"]).all()
    assert right["top1"].mean() > 0.6
