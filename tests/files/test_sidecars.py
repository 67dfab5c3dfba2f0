"""Which files beside a model are its own, by its name and by those of the files made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_gapmil.files.sidecars import left_behind, model_stems
from onnx_gapmil.show.terminal.left_behind import left_behind_note


@pytest.mark.parametrize(
    ("name", "stems"),
    [
        ("x.onnx", ("x",)),
        ("x.gapmil.onnx", ("x.gapmil", "x")),
        ("x.repooled.onnx", ("x.repooled", "x")),
        ("x.repooled.gapmil.onnx", ("x.repooled.gapmil", "x.repooled", "x")),
        (".gapmil.onnx", (".gapmil",)),
        ("x.gapmil.v2.onnx", ("x.gapmil.v2",)),
    ],
)
def test_what_is_made_of_a_model_has_its_files(name: str, stems: tuple[str, ...]) -> None:
    assert model_stems(Path(name)) == stems


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name in ("net.preprocess.json", "net.labels.txt", "config.json", "net.card.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    return tmp_path / "net.onnx"


@pytest.mark.parametrize("name", ["net.gapmil.onnx", "net.repooled.onnx", "net.repooled.gapmil.onnx"])
def test_default_names_leave_nothing_behind(model: Path, name: str) -> None:
    assert left_behind(model, model.with_name(name)) == ()
    assert left_behind_note(model, model.with_name(name)) is None


def test_another_name_leaves_what_bears_the_models(model: Path) -> None:
    other = model.with_name("max.onnx")
    assert [path.name for path in left_behind(model, other)] == ["net.preprocess.json", "net.labels.txt"]
    note = left_behind_note(model, other)
    assert note is not None
    assert "copy them beside it as max.preprocess.json and max.labels.txt" in note


def test_another_folder_leaves_all_that_states_something(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    found = left_behind(model, tmp_path / "out" / "net.gapmil.onnx")
    assert [path.name for path in found] == ["net.preprocess.json", "net.labels.txt", "config.json"]


def test_a_copy_that_is_there_is_not_missed(model: Path) -> None:
    model.with_name("max.preprocess.json").write_text("{}", encoding="utf-8")
    found = left_behind(model, model.with_name("max.onnx"))
    assert [path.name for path in found] == ["net.labels.txt"]
