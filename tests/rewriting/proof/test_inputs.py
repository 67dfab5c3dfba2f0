"""What a proof feeds: the shapes that a model leaves open are filled in two ways, what it fixes stays."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.proof.inputs import proof_inputs
from tests.helpers.support import text_model

BODY = "p = GlobalAveragePool(x)  y = Flatten(p)"


def fed(x: str, **given: np.ndarray) -> list[tuple[str, dict[str, np.ndarray], bool]]:
    model = load_model(text_model(BODY, x=x, y="float[N,3] y"))
    return list(proof_inputs(model, list(given.items())))


@pytest.mark.parametrize(
    ("x", "shapes"),
    [
        ("float[2,3,8,8] x", [(2, 3, 8, 8), (2, 3, 8, 8)]),
        ("float[N,3,8,8] x", [(3, 3, 8, 8), (1, 3, 8, 8)]),
        ("float[1,3,H,W] x", [(1, 3, 224, 224), (1, 3, 256, 320)]),
        ("float[N,3,H,W] x", [(3, 3, 224, 224), (1, 3, 256, 320)]),
    ],
)
def test_two_runs_of_open_batches_and_sizes(x: str, shapes: list[tuple[int, ...]]) -> None:
    wanted = [(label, feeds["x"].shape) for label, feeds, spare in fed(x) if not spare]
    assert wanted == [(f"random {shape}", shape) for shape in shapes]


def test_the_two_runs_differ_and_are_the_same_in_every_proof() -> None:
    first, again = fed("float[2,3,8,8] x"), fed("float[2,3,8,8] x")
    one, other = (feeds["x"] for _, feeds, spare in first if not spare)
    assert not np.array_equal(one, other)
    for (_, feeds, _), (_, same, _) in zip(first, again, strict=True):
        np.testing.assert_array_equal(feeds["x"], same["x"])


def test_other_sizes_are_only_for_a_model_that_takes_none_of_these() -> None:
    found = fed("float[N,3,H,W] x")
    assert [spare for *_, spare in found] == sorted(spare for *_, spare in found)
    assert found[-1][2]


def test_what_the_user_gives_comes_first_under_its_name() -> None:
    image = np.ones((1, 3, 8, 8), np.float32)
    (label, feeds, spare), *rest = fed("float[N,3,8,8] x", **{"a.png": image})
    assert (label, spare) == ("a.png", False)
    assert feeds["x"] is image
    assert rest


def test_images_cannot_be_fed_to_two_inputs() -> None:
    model = text_model(f"s = Add(x, z)  {BODY.replace('(x)', '(s)')}", x="float[1,3,8,8] x, float[1,3,8,8] z")
    with pytest.raises(ModelError, match="has 2 inputs; images can only be fed to one"):
        next(proof_inputs(load_model(model), [("a.png", np.ones((1, 3, 8, 8), np.float32))]))
    _, feeds, _ = next(proof_inputs(load_model(model), []))
    assert set(feeds) == {"x", "z"}
