"""Sessions that give each thread images of its own: the same answers, whatever the batch, the lanes and the threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.errors import ModelError
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.running.grid_session import GridSession
from onnx_gapmil.running.pipeline import batch_size, iterate
from tests.helpers.support import raw_pixels


def by_image(model, lanes: int) -> GridSession:
    return GridSession(model, provider="cpu", threads=lanes, by_image=True)


def slices_of(session: GridSession, monkeypatch) -> list[int]:
    """The sizes of the batches that ONNX Runtime gets."""
    sizes: list[int] = []
    run = session._runner.run

    def told(batch, outputs):
        sizes.append(len(batch))
        return run(batch, outputs)

    monkeypatch.setattr(session, "_runner", SimpleNamespace(run=told))
    return sizes


@pytest.mark.parametrize(
    ("lanes", "count", "sizes"),
    [(3, 7, [1, 3, 3]), (3, 2, [1, 1]), (2, 1, [1]), (4, 4, [1, 1, 1, 1]), (1, 5, [5])],
)
def test_a_batch_is_shared_among_the_lanes(toy, monkeypatch, lanes, count, sizes):
    session = by_image(toy.model(), lanes)
    ran = slices_of(session, monkeypatch)
    batch = toy.images(count)
    (result,) = session.run(batch)
    assert session.lanes == lanes
    assert sorted(ran) == sizes
    np.testing.assert_allclose(result.grid, toy.grid(batch), atol=1e-5)
    np.testing.assert_allclose(result.logits, toy.grid(batch).mean(axis=(2, 3)), atol=1e-5)


def test_lanes_keep_a_fixed_batch(toy, monkeypatch):
    session = by_image(toy.model(batch="2"), 3)
    ran = slices_of(session, monkeypatch)
    batch = toy.images(5)
    np.testing.assert_allclose(session.run(batch)[0].grid, toy.grid(batch), atol=1e-5)
    assert ran == [2, 2, 2]
    assert batch_size(session) == batch_size(session, 50) == 6


def test_by_default_there_is_one_lane_and_one_for_each_core_when_asked(toy):
    assert GridSession(toy.model(), provider="cpu").lanes == 1
    assert GridSession(toy.model(), provider="cpu", by_image=True).lanes == thread_count()


def test_threads_of_a_lane_do_not_share_an_operator(toy):
    options = by_image(toy.model(), 4)._session.get_session_options()
    assert options.intra_op_num_threads == 1
    assert by_image(toy.model(), 1)._session.get_session_options().intra_op_num_threads == 1
    assert GridSession(toy.model(), "cpu", 4)._session.get_session_options().intra_op_num_threads == 4


def test_a_lane_that_fails_is_the_callers_error_after_all_have_ended(toy, monkeypatch):
    session = by_image(toy.model(), 2)
    ended: list[float] = []
    run = session._runner.run

    def half(batch, outputs):
        if batch[0, 0, 0, 0] == 99:
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : no")
        found = run(batch, outputs)
        ended.append(float(batch[0, 0, 0, 0]))
        return found

    monkeypatch.setattr(session, "_runner", SimpleNamespace(run=half))
    batch = toy.images(2)
    batch[0, 0, 0, 0], batch[1, 0, 0, 0] = 99, 5
    with pytest.raises(ModelError):
        session.run(batch)
    assert ended == [5]


def test_a_session_may_be_run_by_several_threads_at_once(toy):
    session = by_image(toy.model(), 2)
    batches = [toy.images(1 + seed % 5, seed) for seed in range(60)]
    with ThreadPoolExecutor(4) as pool:
        for batch, (found,) in zip(batches, pool.map(session.run, batches), strict=True):
            np.testing.assert_allclose(found.grid, toy.grid(batch), atol=1e-5)


@pytest.mark.parametrize("batch", [None, 1, 2, 5])
def test_photos_through_lanes_keep_their_order_and_their_answers(toy, tmp_path: Path, batch):
    rng = np.random.default_rng(0)
    paths, pixels = [], rng.integers(0, 256, (37, 4, 4, 3), dtype=np.uint8)
    for place, photo in enumerate(pixels):
        paths.append(tmp_path / f"{place}.png")
        Image.fromarray(photo).save(paths[-1])
    preprocess = raw_pixels(4, 4)
    answers = list(iterate(by_image(toy.model(), 3), preprocess, paths, batch=batch))
    assert [answer.path for answer in answers] == paths
    expected = toy.grid(pixels.transpose(0, 3, 1, 2).astype(np.float32))
    for answer, grid in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer.grids[0].grid[0], grid, rtol=1e-5)


@pytest.mark.parametrize(
    ("lanes", "used", "asked", "size"),
    [(1, "cpu", None, 8), (4, "cpu", None, 8), (24, "cpu", None, 24), (1, "cuda", None, 32), (4, "cpu", 3, 3)],
)
def test_the_size_of_a_batch(lanes, used, asked, size):
    session = SimpleNamespace(lanes=lanes, provider={"used": used}, fixed_batch=None)
    assert batch_size(session, asked) == size
