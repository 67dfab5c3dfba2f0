"""Lines of a journal find their batches, in the data set's order without a table, and in any other with one."""

from __future__ import annotations

from onnx_gapmil.auditing.line_places import LinePlaces

WANTED = [2, 5, 6, 9]


class Names:
    """Of the images of each batch; how often they were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, place: int) -> tuple[str, ...]:
        self.asked += 1
        return (f"{place}a", f"{place}b")


def test_lines_in_order_ask_for_one_batch_each() -> None:
    names = Names()
    found = LinePlaces(WANTED, names)
    assert [found.of((f"{place}a", f"{place}b")) for place in WANTED] == WANTED
    assert names.asked == len(WANTED)


def test_lines_in_another_order_twice_or_of_other_images() -> None:
    found = LinePlaces(WANTED, Names())
    lines = [("5a", "5b"), ("6a", "6b"), ("2a", "2b"), ("2a",), ("5a", "5b"), ("8a", "8b"), (), ("9a", "9b")]
    assert [found.of(line) for line in lines] == [5, 6, 2, None, 5, None, None, 9]
    assert found.of(("1a", "1b")) is None
