"""The folder of results: names, arrays, and what is left of a run that breaks."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from onnx_gapmil.errors import ImageError
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.prediction.answers import ImagePrediction
from onnx_gapmil.prediction.head_answer import HeadPrediction
from onnx_gapmil.prediction.results import Results, cell_rectangles

GEOMETRY = Geometry.plan((90, 120), (64, 64), "shortest", 0.875)


def head(output: str = "y") -> HeadPrediction:
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    logits = grid.mean((1, 2))
    return HeadPrediction(
        output, "exact", "none", (3, 4), True, (), (), (), logits, grid, {"logits": logits, "grid": grid}
    )


def answer(path: Path, *heads: HeadPrediction) -> ImagePrediction:
    return ImagePrediction(path, None, GEOMETRY, heads or (head(),))


@pytest.fixture
def results(tmp_path: Path):
    made = Results(tmp_path, pictures=False, arrays=True)
    yield made
    made.report.close()


def written(results: Results, paths: list[Path], answers) -> list:
    return list(results.write(SimpleNamespace(), paths, answers))


def test_arrays_have_the_cells_of_the_geometry(results: Results) -> None:
    path = Path("a.jpg")
    (found,) = written(results, [path], (entry for entry in [answer(path)]))
    with np.load(found.npz) as arrays:
        assert list(arrays) == ["logits", "grid", "cells"]
        for row in range(3):
            for column in range(4):
                expected = np.float32(GEOMETRY.cell_rectangle(row, column, (3, 4)))
                np.testing.assert_array_equal(arrays["cells"][row, column], expected)


def test_several_heads_end_in_their_outputs_names(results: Results) -> None:
    path = Path("a.jpg")
    (found,) = written(results, [path], (entry for entry in [answer(path, head("one"), head("two"))]))
    with np.load(found.npz) as arrays:
        assert set(arrays) == {f"{name}_{output}" for name in ("logits", "grid", "cells") for output in ("one", "two")}


def test_photos_of_one_size_share_their_rectangles_and_nobody_can_change_them() -> None:
    first = cell_rectangles(GEOMETRY, (3, 4))
    assert cell_rectangles(Geometry.plan((90, 120), (64, 64), "shortest", 0.875), (3, 4)) is first
    assert not first.flags.writeable


def test_a_name_that_a_number_would_take_is_not_taken_twice(results: Results) -> None:
    paths = [Path(name) for name in ("x/a.png", "a_2.png", "y/a.png", "z/a.png")]
    found = written(results, paths, (answer(path) for path in paths))
    names = [entry.npz.name for entry in found]
    assert len(set(names)) == 4
    assert names[:2] == ["a.npz", "a_2.npz"]


def test_a_photo_has_the_same_name_whatever_became_of_its_neighbours(results: Results) -> None:
    paths = [Path("a.png"), Path("b/a.png")]
    error = ImageError("a.png is damaged")
    found = written(results, paths, (entry for entry in [error, answer(paths[1])]))
    assert found[0] is error
    assert found[1].npz.name == "a_2.npz"
    text = json.loads("".join(results.report.chunks({"schema_version": 1})))
    assert text["failed"] == [{"image": "a.png", "name": "a.png", "error": "a.png is damaged"}]


def test_what_was_predicted_when_ctrl_c_came_is_written_and_reported(results: Results, tmp_path: Path) -> None:
    """The second photo waits behind the first one's writing when the source is interrupted."""
    interrupted, closed = threading.Event(), []
    real = results.report.add

    def slow(*arguments):
        assert interrupted.wait(10)
        time.sleep(0.05)
        real(*arguments)

    results.report.add = slow

    def answers():
        try:
            for name in ("a.png", "b.png"):
                yield answer(Path(name))
            interrupted.set()
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        written(results, [Path(f"{name}.png") for name in "abc"], answers())
    assert closed == [True]
    path = results.report.save({"schema_version": 1}, interrupted=True)
    assert [entry["image"] for entry in json.loads(path.read_text())["images"]] == ["a.png", "b.png"]
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.npz", "b.npz", "predictions.json"}
