"""A stage of the pipeline: order, bounds, errors, and no thread left behind."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.running.pipeline import ordered_map


def stage_threads(name: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


@given(st.lists(st.integers()), st.integers(1, 4), st.integers(1, 6))
def test_results_come_in_the_order_of_the_items(items: list[int], workers: int, ahead: int) -> None:
    assert list(ordered_map(lambda item: 3 * item, items, workers=workers, ahead=ahead)) == [3 * i for i in items]


def test_order_is_kept_where_the_first_item_takes_longest() -> None:
    second_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_done.wait(10)
        else:
            second_done.set()
        return item

    assert list(ordered_map(work, range(4), workers=2, ahead=4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_than_a_few_items_are_taken_ahead(ahead: int) -> None:
    taken = []
    results = ordered_map(lambda item: item, (taken.append(i) or i for i in range(100)), workers=2, ahead=ahead)
    for place in range(20):
        assert next(results) == place
        assert len(taken) <= place + ahead
    results.close()


def test_nothing_is_read_before_the_first_result_is_asked_for() -> None:
    taken = []
    ordered_map(lambda item: item, (taken.append(i) for i in range(9)), workers=1, ahead=3)
    assert taken == []


def test_an_error_of_the_function_comes_in_its_place_and_ends_the_threads() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise RuntimeError("three")
        return item

    results = ordered_map(work, range(10), workers=2, ahead=4, name="stage-a")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="three"):
        next(results)
    assert stage_threads("stage-a") == []


def test_an_error_of_the_source_surfaces_and_ends_the_threads() -> None:
    def source():
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(ordered_map(lambda item: item, source(), workers=2, ahead=4, name="stage-b"))
    assert stage_threads("stage-b") == []


def test_leaving_early_ends_the_threads_drops_what_waits_and_closes_the_stage_before() -> None:
    done, closed = [], []

    def source():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    def work(item: int) -> int:
        time.sleep(0.01)
        done.append(item)
        return item

    first = ordered_map(work, source(), workers=1, ahead=8, name="stage-c")
    second = ordered_map(lambda item: item, first, workers=1, ahead=2, name="stage-c")
    assert next(second) == 0
    second.close()
    assert closed == [True]
    assert stage_threads("stage-c") == []
    assert len(done) < 9


def test_an_interrupt_while_waiting_ends_the_threads() -> None:
    """As Ctrl-C does, which Python raises in the main thread."""
    begun = threading.Event()

    def source():
        yield 1
        assert begun.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(ordered_map(lambda _: begun.set(), source(), workers=1, ahead=2, name="stage-d"))
    assert stage_threads("stage-d") == []


@pytest.mark.parametrize("finish", [False, True])
def test_work_that_leaves_something_behind_can_be_finished_when_the_stream_breaks(finish: bool) -> None:
    """The second item waits behind the first when the source breaks: it is done with `finish`, else dropped."""
    broken, done = threading.Event(), []

    def source():
        yield 1
        yield 2
        broken.set()
        raise KeyboardInterrupt

    def work(item: int) -> None:
        assert broken.wait(10)
        time.sleep(0.05)  # long enough for the stage to be told to end
        done.append(item)

    with pytest.raises(KeyboardInterrupt):
        list(ordered_map(work, source(), workers=1, ahead=4, finish=finish))
    assert done == ([1, 2] if finish else [1])
