"""docs/preprocessing.md says what the code does."""

import json
import re
from pathlib import Path

from onnx_gapmil.fitting.preprocessing.candidates import TRIED_INTERPOLATIONS
from onnx_gapmil.images import PRESETS, InputSpec, Preprocess
from onnx_gapmil.images.resize import INTERPOLATIONS
from tests.helpers.golden_photos import EQUALS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "preprocessing.md").read_text(encoding="utf-8")


def rows(heading):
    """The table's cells of one section."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ") and "---" not in line][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_example_is_the_preset_imagenet_and_every_key_is_explained():
    example = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    assert Preprocess.from_json(example) == PRESETS["imagenet"](InputSpec("x", (None, 3, 224, 224), "float32"))
    explained = re.findall(r"`(\w+)`", " ".join(row[0] for row in rows("The JSON")))
    assert explained == [*example, "full_scale"]


def test_every_preset_has_its_row_with_its_resizing():
    table = {row[0].strip("`"): row[2] for row in rows("Presets")}
    assert list(table) == list(PRESETS)
    for name, resizing in table.items():
        preset = PRESETS[name](InputSpec("x", (None, 3, 224, 224), "float32"))
        crop = "" if preset.crop == 1 else f" {preset.crop}"
        assert resizing == f"{preset.resize}{crop}, {preset.interpolation}"


def test_every_interpolation_is_in_the_table_and_every_row_is_tested():
    table = [(row[0].strip("`"), row[1], row[2], row[3]) for row in rows("Interpolations")]
    assert list(dict.fromkeys(row[0] for row in table)) == list(INTERPOLATIONS)
    named = {(rule, text.split("`")[1]): (hard, soft) for rule, text, hard, soft in table if text.startswith("`")}
    for function, rule, hard, soft in EQUALS:
        stated_hard, stated_soft = named.pop((rule, function))
        assert float(stated_hard) == hard
        assert not stated_soft or float(stated_soft) == soft
    assert {function for _, function in named} == {"cv2.resize"}


def test_the_page_counts_right():
    assert len(INTERPOLATIONS) == 11
    assert "eleven, see below" in PAGE
    assert len(TRIED_INTERPOLATIONS) == 7
    assert "**Interpolation**: seven." in PAGE
