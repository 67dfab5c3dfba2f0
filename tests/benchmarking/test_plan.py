"""How the command line spells what to measure."""

from __future__ import annotations

import pytest

from onnx_gapmil.benchmarking.plan import BenchPlan, parse_batches, parse_words
from onnx_gapmil.errors import InputError
from onnx_gapmil.rewriting.sizing.record import parse_size


@pytest.mark.parametrize(
    ("text", "expected"), [("1,8,32", (1, 8, 32)), (" 4 ", (4,)), ("8,8,1", (8, 1)), (None, ()), (",", ())]
)
def test_batches(text: str | None, expected: tuple[int, ...]) -> None:
    assert parse_batches(text) == expected


@pytest.mark.parametrize("text", ["x", "1;2", "-1", "1.5", "٣"])
def test_batches_that_are_no_whole_numbers_are_named(text: str) -> None:
    with pytest.raises(InputError, match="no whole number; write it like 1,8,32"):
        parse_batches(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("224x320", (224, 320)), ("224X320", (224, 320)), ("96", (96, 96)), (None, None)]
)
def test_sizes_are_height_by_width(text: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "0x5", "224*224", "224x", "99999", "1x2x3", "-3"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--size"):
        parse_size(text)


def test_words_keep_their_order_and_come_once() -> None:
    assert parse_words("CUDA, cpu,cuda") == ("cuda", "cpu")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batches": (0,)}, "--batch 0"),
        ({"batches": (70000,)}, "--batch 70000"),
        ({"precisions": ("int4",)}, "'int4' is not known; there are: fp32, fp16"),
        ({"seconds": 0.0}, "--seconds 0"),
        ({"seconds": float("nan")}, "--seconds nan"),
        ({"emissions": ()}, "nothing to hold the original against"),
    ],
)
def test_a_plan_that_means_nothing_is_refused_in_a_sentence(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        BenchPlan(**changes)
