"""Images that no fit can use, and classes without images: said in one sentence by every fit, and nothing is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_gapmil.auditing.preparation import Request
from onnx_gapmil.errors import DataError
from onnx_gapmil.fitting.pooling.wish import parse_fit
from onnx_gapmil.validation.refitting import collecting
from onnx_gapmil.validation.refitting.refit import refit
from onnx_gapmil.validation.refitting.request import FitRequest
from sample_models.scenes import iter_scenes
from tests.helpers.verbs import SAMPLES, run

if TYPE_CHECKING:
    from tests.validation.refitting.conftest import Scenes

MODEL = SAMPLES / "digits_torch_legacy.onnx"
PREPROCESS = SAMPLES / "digits_torch_legacy.preprocess.json"
FITS = ("mix", "topk=0.05", "flex", "head", "sac")


def written(folder: Path, arrays: list[np.ndarray]) -> Path:
    """A label file of arrays, of ten classes in turn."""
    folder.mkdir()
    rows = []
    for number, array in enumerate(arrays):
        np.save(folder / f"a{number:02d}.npy", array)
        rows.append(json.dumps({"image": f"a{number:02d}.npy", "label": number % 10}))
    path = folder / "labels.jsonl"
    path.write_text("\n".join(rows), "utf-8")
    return path


def refused(capsys: pytest.CaptureFixture[str], model: Path, fit: str, data: Path, out: Path) -> str:
    """The one sentence; nothing is written."""
    arguments = ("--data", data, "--preprocess", PREPROCESS, "--ridge", "1", "-o", out, "--quiet")
    before = sorted(out.parent.iterdir())
    assert run("repool", model, "--fit", fit, *arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert sorted(out.parent.iterdir()) == before
    (line,) = streams.err.strip().splitlines()
    return line


def blind_to_dark(path: Path) -> Path:
    """The model, which gives NaN where the mean of its input is below -1.6, as that of a black image is."""
    model = onnx.load(MODEL)
    place, pool = next(
        (place, node) for place, node in enumerate(model.graph.node) if node.op_type == "GlobalAveragePool"
    )
    nodes = [
        helper.make_node("ReduceMean", [model.graph.input[0].name], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Add", ["mean", "level"], ["above"]),
        helper.make_node("Sqrt", ["above"], ["root"]),
        helper.make_node("Mul", ["root", "nothing"], ["none"]),
        helper.make_node("Add", [pool.input[0], "none"], ["beside"]),
    ]
    pool.input[0] = "beside"
    for name, value in (("level", 1.6), ("nothing", 0.0)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    for node in reversed(nodes):
        model.graph.node.insert(place, node)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("fit", FITS)
def test_no_number(fit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [np.maximum(scene.image, 60) for scene in iter_scenes("held_out", 5, 40)]
    images[17] = np.zeros_like(images[17])
    data = written(tmp_path / "data", images)
    said = refused(capsys, blind_to_dark(tmp_path / "blind.onnx"), fit, data, tmp_path / "m.onnx")
    assert said == (
        "Error: a17.npy: the model gives what is no number (NaN or infinity) for this image, and nothing can be fitted "
        "to that; mend the image, or its preprocessing, or leave it out."
    )


@pytest.mark.parametrize("fit", FITS)
def test_arrays_of_two_sizes_that_are_no_photos(fit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    data = written(tmp_path / "data", [rng.normal(size=(3, 96 + 32 * (row % 2), 96)) for row in range(40)])
    said = refused(capsys, MODEL, fit, data, tmp_path / "m.onnx")
    assert said.startswith("Error: Not one of the 40 images can be read. The first: ")
    assert 'a00.npy: its samples are float64, whose full scale is not known: state "full_scale"' in said


def test_arrays_of_two_sizes_that_are_photos_come_to_one(tmp_path: Path) -> None:
    images = [scene.image[: 96 - 32 * (row % 2)] for row, scene in enumerate(iter_scenes("held_out", 5, 40))]
    request = Request(model=MODEL, data=written(tmp_path / "data", images), preprocess=str(PREPROCESS))
    fitted = refit(FitRequest(data=request, wish=parse_fit("flex"), output=tmp_path / "m.onnx", ridge=1.0, force=True))
    assert fitted.data.images == 40
    assert fitted.written


@pytest.mark.parametrize("size", [(8, 12), (6, 24)])
def test_grids_of_two_sizes_are_refused(
    size: tuple[int, int], scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with as many cells: a weight for each position would be of others."""
    real = collecting.iterate_batches

    def changed(*arguments: Any, **named: Any) -> Any:
        for place, answered in enumerate(real(*arguments, **named)):
            if place == 2:
                grids = answered.grids[0]
                grid = np.resize(grids.grid, (*grids.grid.shape[:2], *size))
                answered = replace(answered, grids=(replace(grids, grid=grid),))
            yield answered

    monkeypatch.setattr(collecting, "iterate_batches", changed)
    request = Request(model=MODEL, data=scenes.one, preprocess=str(PREPROCESS))
    said = rf"\.png: its grid has {size[0]} x {size[1]} cells, and those of the images before it 12 x 12.*one size"
    with pytest.raises(DataError, match=said):
        refit(FitRequest(data=request, wish=parse_fit("flex"), output=tmp_path / "m.onnx", ridge=1.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fit", ["head", "sac"])
def test_classes_without_images_are_named(
    fit: str, scenes: Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [line for line in scenes.one.read_text("utf-8").splitlines() if json.loads(line)["label"] not in (3, 7)]
    data = scenes.folder / "without.jsonl"
    data.write_text("\n".join(rows), "utf-8")
    arguments = ("--data", data, "--preprocess", PREPROCESS, "--ridge", "1", "--force", "-o", tmp_path / "m.onnx")
    assert run("repool", MODEL, "--fit", fit, *arguments) == 0
    assert "Without an image there, 2 of 10 classes: three, seven; " in " ".join(capsys.readouterr().out.split())
