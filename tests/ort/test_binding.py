"""Buffers that stay on the device. The code is the card's; here the CPU stands in for it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_gapmil.ort.binding import DeviceRunner, HostRunner, make_runner, padded
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.ort.session import make_session
from onnx_gapmil.running.grid_session import GridSession

OUTPUTS = ["gapmil_logits", "gapmil_grid"]


class Watched:
    """A session that counts what it is asked to do."""

    def __init__(self, session) -> None:
        self.session = session
        self.runs: list[str | None] = []
        self.released: list[int] = []
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
        self.io_binding = session.io_binding

    def run_with_iobinding(self, binding, options=None) -> None:
        self.runs.append(None if options is None else options.get_run_config_entry("gpu_graph_id"))
        self.session.run_with_iobinding(binding)

    def release_captured_graph(self, number: int) -> None:
        self.released.append(number)


@pytest.fixture
def watched(toy) -> Watched:
    return Watched(make_session(toy.model().SerializeToString(), choose_providers("cpu")))


def test_each_batch_gets_its_own_answer_from_the_same_buffers(toy, watched):
    runner = DeviceRunner(watched, "image", device="cpu")
    for seed in range(5):
        batch = toy.images(3, seed=seed)
        found = runner.run(batch, OUTPUTS)
        assert list(found) == OUTPUTS
        np.testing.assert_allclose(found["gapmil_grid"], toy.grid(batch), atol=1e-5)
        np.testing.assert_allclose(found["gapmil_logits"], toy.grid(batch).mean((2, 3)), atol=1e-5)
    assert len(watched.runs) == 6  # one more, to see how large the outputs are
    assert len(runner._bound) == 1


def test_answers_do_not_change_when_the_buffers_are_used_again(toy, watched):
    runner = DeviceRunner(watched, "image", device="cpu")
    first = runner.run(toy.images(2, seed=1), OUTPUTS)
    kept = first["gapmil_grid"].copy()
    runner.run(toy.images(2, seed=2), OUTPUTS)
    np.testing.assert_array_equal(first["gapmil_grid"], kept)


def test_addresses_stay(toy, watched):
    runner = DeviceRunner(watched, "image", device="cpu")
    runner.run(toy.images(2), OUTPUTS)
    (bound,) = runner._bound.values()
    before = [bound.input.data_ptr(), *(value.data_ptr() for value in bound.outputs)]
    runner.run(toy.images(2, seed=3), OUTPUTS)
    assert [bound.input.data_ptr(), *(value.data_ptr() for value in bound.binding.get_outputs())] == before


def test_only_what_is_asked_for_is_bound(toy, watched):
    runner = DeviceRunner(watched, "image", device="cpu")
    assert list(runner.run(toy.images(2), ["gapmil_logits"])) == ["gapmil_logits"]
    (bound,) = runner._bound.values()
    assert len(bound.outputs) == 1


def test_buffers_of_a_few_shapes_are_kept(toy, watched):
    runner = DeviceRunner(watched, "image", device="cpu")
    for count in (1, 2, 3, 4, 5, 6, 1):
        batch = toy.images(count, seed=count)
        np.testing.assert_allclose(runner.run(batch, OUTPUTS)["gapmil_grid"], toy.grid(batch), atol=1e-5)
    assert len(runner._bound) == 4
    assert watched.released == []


def test_each_shape_has_a_graph_of_its_own_and_sizing_is_not_recorded(toy, watched):
    runner = DeviceRunner(watched, "image", device="cpu", graphs=True)
    for count in (2, 2, 3, 2):
        runner.run(toy.images(count), OUTPUTS)
    assert watched.runs == ["-1", "1", "1", "-1", "2", "1"]
    for count in (4, 5, 6):
        runner.run(toy.images(count), OUTPUTS)
    assert watched.released == [1]


def test_a_runner_suits_the_provider_and_the_types(toy):
    session = make_session(toy.model().SerializeToString(), choose_providers("cpu"))
    assert isinstance(make_runner(session, "image", used="cpu", graphs=False), HostRunner)
    assert isinstance(make_runner(session, "image", used="cuda", graphs=True), DeviceRunner)
    assert isinstance(make_runner(session, "image", used="tensorrt", graphs=False), DeviceRunner)
    values = [SimpleNamespace(type="tensor(bfloat16)")]
    half = SimpleNamespace(get_inputs=lambda: values, get_outputs=list)
    assert isinstance(make_runner(half, "image", used="cuda", graphs=False), HostRunner)


def test_a_session_on_the_device_runs_slices_through_it(toy, monkeypatch):
    """`GridSession` as on CUDA: a fixed batch, padded, several slices."""
    monkeypatch.setattr(
        "onnx_gapmil.running.grid_session.make_runner",
        lambda session, name, *, used, graphs: DeviceRunner(session, name, graphs=False, device="cpu"),
    )
    session = GridSession(toy.model(batch="2"), provider="cpu")
    batch = toy.images(5)
    (found,) = session.run(batch, features=True)
    np.testing.assert_allclose(found.grid, toy.grid(batch), atol=1e-5)
    assert found.features.shape == (5, 3, 2, 2)


def test_padding_repeats_the_last_image():
    batch = np.arange(6).reshape(3, 2)
    assert padded(batch, 5).tolist() == [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]]
    assert padded(batch, 3) is batch


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", [False, True])
def test_buffers_on_a_card_give_the_cpus_answers(toy, graphs):
    session = GridSession(toy.model(), provider="cuda", cuda_graph=graphs)
    for seed in range(4):
        for count in (4, 2):
            batch = toy.images(count, seed=seed)
            (found,) = session.run(batch, features=True)
            np.testing.assert_allclose(found.grid, toy.grid(batch), rtol=1e-5, atol=1e-4)
            np.testing.assert_allclose(found.features, batch.reshape(count, 3, 2, 2, 2, 2).mean((3, 5)), atol=1e-5)
