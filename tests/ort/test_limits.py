"""A run ends at its limit, whatever the block around it makes of that."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from onnx_gapmil.errors import LimitError, ModelError
from onnx_gapmil.ort import limits
from onnx_gapmil.ort.cpu import cpu_session
from onnx_gapmil.ort.deployed import deployed_session
from onnx_gapmil.ort.limits import bounded_run, limited
from onnx_gapmil.rewriting.inspection import inspect
from tests.helpers import hostile


@pytest.fixture
def short() -> object:
    limits.set_seconds(1.2)
    yield
    limits.set_seconds(None)


@pytest.mark.usefixtures("short")
def test_an_endless_loop_ends_with_the_trial_runs_share() -> None:
    with pytest.raises(LimitError, match=r"trial run does not end within 0\.3 s.*--limit-seconds"):
        inspect(hostile.endless_loop())


@pytest.mark.usefixtures("short")
def test_a_session_as_deployed_ends_at_the_limit_too() -> None:
    session = deployed_session(hostile.endless_loop().SerializeToString(), None, "all")
    with pytest.raises(LimitError, match=r"The limit of 1\.2 s"), limited():
        session.run(None, {"x": np.zeros((1, 3, 16, 16), np.float32)})


def test_another_threads_limits_are_its_own() -> None:
    begun, ended = threading.Event(), threading.Event()

    def other() -> None:
        with limited():
            begun.set()
            ended.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(60)
    assert limits.seconds_allowed() == float("inf")
    with limited():
        ended.set()
        thread.join()
        assert limits.seconds_allowed() == limits.SECONDS


@pytest.mark.usefixtures("short")
def test_a_limit_inside_a_block_that_swallows_it_is_told_all_the_same() -> None:
    session = cpu_session(hostile.endless_loop(), None)
    with pytest.raises(LimitError, match=r"the limit of 1\.2 s|The limit of 1\.2 s"), limited():  # noqa: PT012
        with contextlib.suppress(ModelError):
            session.run(None, {"x": np.zeros((1, 3, 16, 16), np.float32)})
        raise ModelError("something else")


def test_blocks_within_a_block_share_its_limits() -> None:
    with limited():
        outer = limits._here.span
        with limited():
            assert limits._here.span is outer
        assert limits._here.span is outer
    assert limits._here.span is None


@pytest.mark.parametrize(
    "words", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 4", "bad allocation"]
)
def test_a_runtime_that_gets_no_memory_is_a_limit(words: str) -> None:
    def fails(_: object) -> None:
        raise RuntimeError(words)

    with pytest.raises(LimitError, match=r"It needs more memory than .*--limit-memory"), limited():
        bounded_run(fails, object())


@pytest.mark.skipif(sys.platform != "linux", reason="the system's limit is Linux's")
def test_memory_is_bounded_by_the_system_where_the_process_is_ours(tmp_path: Path) -> None:
    """A graph whose shapes tell nothing beforehand: the sizes come from the image's own values."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "zero"], ["z"]),
        helper.make_node("Cast", ["z"], ["i"], to=TensorProto.INT64),
        helper.make_node("Add", ["i", "size"], ["s"]),
        helper.make_node("Expand", ["x", "s"], ["t"]),
    ]
    weights = [
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array([64, 3, 1600, 1600], np.int64), "size"),
    ]
    path = tmp_path / "m.onnx"
    onnx.save(hostile.classifier(before=nodes, trunk="t", shape=(1, 3, 1, 1), weights=weights), path)
    command = [sys.executable, "-m", "onnx_gapmil", "inspect", str(path), "--limit-memory", "1GB"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.endswith("It needs more memory than the limit of 1.0 GB; raise it with --limit-memory.\n")
