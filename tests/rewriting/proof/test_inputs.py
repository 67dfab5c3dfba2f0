"""What a proof feeds: the user's arrays first, then random ones in the graph's own shapes and types."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.proof.inputs import proof_inputs
from tests.helpers.support import text_model


def fed(model: onnx.ModelProto, *batches: tuple[str, np.ndarray]) -> list[tuple[str, dict[str, np.ndarray], bool]]:
    return list(proof_inputs(load_model(model), batches))


def pooling(x: str) -> onnx.ModelProto:
    return text_model("p = GlobalAveragePool(x)\n y = Flatten(p)", x=f"{x} x", y="float[N,3] y")


def test_an_open_batch_is_fed_with_three_images_and_with_one() -> None:
    usual = [(label, spare) for label, _, spare in fed(pooling("float[N,3,8,6]")) if not spare]
    assert usual == [("random (3, 3, 8, 6)", False), ("random (1, 3, 8, 6)", False)]


def test_a_fixed_shape_is_fed_twice_with_other_numbers() -> None:
    first, second = (feeds["x"] for _, feeds, spare in fed(pooling("float[1,3,8,6]")) if not spare)
    assert first.shape == second.shape == (1, 3, 8, 6)
    assert not np.array_equal(first, second)


def test_open_sizes_are_fed_with_two_sizes_one_of_them_not_square() -> None:
    shapes = [feeds["x"].shape for _, feeds, spare in fed(pooling("float[N,3,H,W]")) if not spare]
    assert shapes == [(3, 3, 224, 224), (1, 3, 256, 320)]


def test_spare_inputs_come_last() -> None:
    spares = [spare for _, _, spare in fed(pooling("float[N,3,H,W]"))]
    assert True in spares
    assert spares == sorted(spares)


def test_the_types_are_the_graphs_own() -> None:
    model = text_model(
        "f = Cast<to=1>(x)\n p = GlobalAveragePool(f)\n y = Flatten(p)", x="uint8[N,3,8,6] x", y="float[N,3] y"
    )
    assert {feeds["x"].dtype.name for _, feeds, _ in fed(model)} == {"uint8"}


def test_given_arrays_come_first() -> None:
    array = np.ones((2, 3, 8, 6), np.float32)
    label, feeds, spare = fed(pooling("float[N,3,8,6]"), ("cat.png", array))[0]
    assert (label, spare) == ("cat.png", False)
    assert feeds["x"] is array


def test_images_cannot_be_fed_to_two_inputs() -> None:
    model = text_model(
        "s = Add(x, z)\n p = GlobalAveragePool(s)\n y = Flatten(p)", x="float[N,3,8,6] x, float[1] z", y="float[N,3] y"
    )
    with pytest.raises(ModelError, match="has 2 inputs; images can only be fed to one"):
        fed(model, ("cat.png", np.ones((1, 3, 8, 6), np.float32)))
