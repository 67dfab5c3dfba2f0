import io
from pathlib import Path

import pytest
from rich.console import Console

from onnx_gapmil.fitting.preprocessing import Ranking, RankingRow
from onnx_gapmil.images import PRESETS, InputSpec
from onnx_gapmil.show.terminal.ranking import ranking_table

SPEC = InputSpec("x", (None, 3, 224, 224), "float32")


def row(name, *, offset=0, chosen=False, tied=False, top1=0.75):
    preset = PRESETS[name.split()[0]](SPEC)
    return RankingRow(name, preset, offset, 48, top1, 0.9375, -0.875, 0.421, 0.606, chosen, tied)


def ranking(*rows, failed=()):
    best = next(one for one in rows if one.chosen)
    return Ranking(rows, best.preprocess, best.offset, 48, failed, 752, True, "caffe, BGR: right on 36.")


def text(value, **options):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(ranking_table(value, **options))
    return console.export_text()


def test_a_row_has_all_its_numbers_and_marks():
    shown = text(ranking(row("imagenet", tied=True), row("caffe", chosen=True, top1=0.7708)))
    lines = [line.replace(" %", "%").split() for line in shown.splitlines()]
    assert lines[1][:9] == ["=", "imagenet", "RGB", "shortest", "0.875,", "bilinear-antialias", "48", "75.0%", "93.8%"]
    assert lines[2] == [
        "*",
        "caffe",
        "BGR",
        "squash",
        "0.875,",
        "bilinear",
        "48",
        "77.1%",
        "93.8%",
        "-0.88",
        "42.1%",
        "60.6%",
    ]
    assert "caffe, BGR: right on 36." in shown
    assert "offset" not in shown


def test_offsets_are_a_column_only_where_there_are_several():
    lines = text(ranking(row("raw", offset=1, chosen=True), row("raw"))).splitlines()
    assert "offset" in lines[0]
    assert "+1" in lines[1].split()
    assert "0" in lines[2].split()


@pytest.mark.parametrize("rows", [1, 2])
def test_a_short_table_keeps_the_chosen_row_and_says_what_it_leaves_out(rows):
    value = ranking(row("imagenet"), row("unit"), row("caffe", chosen=True), row("raw"))
    shown = text(value, rows=rows)
    assert "caffe" in shown.splitlines()[rows]
    assert f"{4 - rows} more rows are left out." in shown


def test_files_that_failed_are_counted_and_the_first_is_named():
    failed = ((Path("a.png"), "damaged"), (Path("b.png"), "empty"))
    shown = text(ranking(row("caffe", chosen=True), failed=failed))
    assert "2 images could not be read. a.png: damaged" in shown
