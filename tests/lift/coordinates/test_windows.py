"""Windows against the runtime: the mean of an input that holds its own coordinates is where its window looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onnx_gapmil.lift.coordinates.fields import MIXED, POOLED
from tests.helpers.support import coordinate, coordinates_of, run, text_model

SIZE = (19, 23)


def ramp(axis: int, channels: int = 1) -> np.ndarray:
    shape = [1, 1, 1, 1]
    shape[axis] = SIZE[axis - 2]
    whole = np.broadcast_to(np.arange(shape[axis]).reshape(shape) + 0.5, (1, channels, *SIZE))
    return np.ascontiguousarray(whole, np.float32)


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    seed=st.integers(0, 99),
    pool=st.booleans(),
)
def test_window_looks_where_its_weights_lie(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pads: list[int],
    seed: int,
    pool: bool,
) -> None:
    """In the interior; beyond the edge the steps go on. A kernel counts by its squared weights."""
    pads = [min(pad, size - 1) for pad, size in zip(pads, kernel * 2, strict=True)]
    attributes = f"strides={list(stride)}, pads={pads}"
    weights = np.random.default_rng(seed).standard_normal((1, 1, *kernel)).astype(np.float32)
    if pool:
        dilation, weights = (1, 1), np.ones_like(weights)
        body = f"m = AveragePool<kernel_shape={list(kernel)}, {attributes}>(x)"
    else:
        body = f"m = Conv<dilations={list(dilation)}, {attributes}>(x, w)"
    spec = f"float[1,1,{SIZE[0]},{SIZE[1]}] x"
    looks = coordinates_of(text_model(body, x=spec, y="float[1,1,h,w2] m", init={} if pool else {"w": weights}))
    energy = np.square(weights) / np.square(weights).sum()
    reference = text_model(
        f"m = Conv<dilations={list(dilation)}, {attributes}>(x, w)", x=spec, y="float[1,1,h,w2] m", init={"w": energy}
    )
    for axis in (2, 3):
        (expected,) = run(reference, ramp(axis))
        found = coordinate(looks, axis)
        place = axis - 2
        reach = (kernel[place] - 1) * dilation[place]
        starts = np.arange(found.shape[axis]) * stride[place] - pads[place]
        inside = (starts >= 0) & (starts + reach < SIZE[place])
        other = 5 - axis
        # The other axis must not reach into its padding, or the reference loses energy there.
        own = np.arange(found.shape[other]) * stride[1 - place] - pads[1 - place]
        middle = int(
            np.flatnonzero((own >= 0) & (own + (kernel[1 - place] - 1) * dilation[1 - place] < SIZE[1 - place]))[0]
        )
        line = np.take(expected, middle, other).ravel()
        np.testing.assert_allclose(np.take(found, 0, other).ravel()[inside], line[inside], atol=1e-3)
        if found.shape[axis] > 1:
            np.testing.assert_allclose(np.diff(np.take(found, 0, other).ravel()), stride[place], atol=1e-6)


@pytest.mark.parametrize(("auto", "first"), [("SAME_UPPER", 1.5), ("SAME_LOWER", 0.5), ("VALID", 1.5)])
def test_automatic_padding(auto: str, first: float) -> None:
    """Three wide, stride 2, of 20: SAME pads one pixel, behind or before."""
    model = text_model(
        f'm = MaxPool<kernel_shape=[3], strides=[2], auto_pad="{auto}">(x)', x="float[1,1,20] x", y="float[1,1,n] m"
    )
    assert coordinate(coordinates_of(model), 2)[0, 0, 0] == first


@given(
    kernel=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    seed=st.integers(0, 99),
)
def test_transposed_convolution_looks_where_its_weights_lie(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], seed: int
) -> None:
    """Against the runtime: the mean over the outputs of one stride of the coordinates that they are made of."""
    reach = [(size - 1) * wide for size, wide in zip(kernel, dilation, strict=True)]
    # Otherwise there are outputs that nothing is spread over.
    assume(all(math.gcd(*pair) == 1 for pair in zip(stride, dilation, strict=True)))
    assume(all(size >= step for size, step in zip(kernel, stride, strict=True)))
    weights = np.random.default_rng(seed).standard_normal((1, 1, *kernel)).astype(np.float32)
    body = f"m = ConvTranspose<strides={list(stride)}, dilations={list(dilation)}>(x, w)"
    spec = f"float[1,1,{SIZE[0]},{SIZE[1]}] x"
    looks = coordinates_of(text_model(body, x=spec, y="float[1,1,h,w2] m", init={"w": weights}))
    for axis in (2, 3):
        place = axis - 2
        # By itself along this axis: what the other's weights make of an output is a gain.
        amounts = np.abs(weights).sum(axis=5 - axis, keepdims=True)
        line = body.replace(str(list(stride)), str([stride[place] if at == axis else 1 for at in (2, 3)]))
        line = line.replace(str(list(dilation)), str([dilation[place] if at == axis else 1 for at in (2, 3)]))
        reference = text_model(line, x=spec, y="float[1,1,h,w2] m", init={"w": amounts})
        (made,), (ones,) = (run(reference, given) for given in (ramp(axis), np.ones((1, 1, *SIZE), np.float32)))
        found = np.take(coordinate(looks, axis), 0, 5 - axis).ravel()
        inside = slice(reach[place], reach[place] + stride[place])
        expected = (np.take(array, 0, 5 - axis).ravel()[inside] for array in (made, ones))
        np.testing.assert_allclose(found[inside].mean(), np.divide(*expected).mean(), atol=1e-3)
        np.testing.assert_allclose(np.diff(found), 1 / stride[place], atol=1e-6)


def test_transposed_convolution_looks_between() -> None:
    model = text_model(
        "m = ConvTranspose<strides=[2, 2]>(x, w)",
        x="float[1,1,4,5] x",
        y="float[1,1,8,10] m",
        init={"w": np.ones((1, 1, 2, 2), np.float32)},
    )
    np.testing.assert_allclose(coordinate(coordinates_of(model), 3)[0, 0, 0], np.arange(10) / 2 + 0.25)


def test_pool_over_everything_leaves_no_place() -> None:
    for body in ("m = GlobalAveragePool(x)", "m = MaxPool<kernel_shape=[4, 5]>(x)"):
        looks = coordinates_of(text_model(body, x="float[1,2,4,5] x", y="float[1,2,1,1] m"))
        assert (coordinate(looks, 2) == POOLED).all()


def test_groups_keep_their_channels_apart() -> None:
    model = text_model(
        "m = Conv<group=3>(x, w)",
        x="float[1,6,4,5] x",
        y="float[1,3,4,5] m",
        init={"w": np.ones((3, 2, 1, 1), np.float32)},
    )
    np.testing.assert_allclose(coordinate(coordinates_of(model), 1)[0, :, 0, 0], [1, 3, 5])


def test_window_over_a_seam_sees_no_one_place() -> None:
    """The image rolled by half: where its ends meet, a window sees both."""
    model = text_model(
        "a, b = Split<axis=3>(x)\n r = Concat<axis=3>(b, a)\n m = MaxPool<kernel_shape=[1, 3], pads=[0, 1, 0, 1]>(r)",
        x="float[1,1,4,12] x",
        y="float[1,1,4,12] m",
        opset=12,
    )
    found = coordinate(coordinates_of(model), 3)[0, 0, 0]
    assert (found[[5, 6]] == MIXED).all()
    np.testing.assert_allclose(found[:5], np.arange(5) + 6.5)


def test_convolution_over_attentions_scores_is_no_window_over_a_map() -> None:
    """Talking heads: rows run along the tokens in stairs, and the columns beside them; neither is shared out."""
    model = text_model(
        """f = Reshape(x, s)
q = Transpose<perm=[0, 2, 1]>(f)
a = MatMul(q, f)
u = Unsqueeze(a, one)
h = Conv(u, w)
p = Softmax(h)
z = Squeeze(p, one)
m = MatMul(z, q)""",
        x="float[1,3,4,5] x",
        y="float[1,20,3] m",
        init={
            "s": np.array([0, 3, -1], np.int64),
            "one": np.array([1], np.int64),
            "w": np.ones((1, 1, 1, 1), np.float32),
        },
    )
    looks = coordinates_of(model)
    np.testing.assert_array_equal(coordinate(looks, 2)[0, :, 0], np.repeat(np.arange(4) + 0.5, 5))
    np.testing.assert_array_equal(coordinate(looks, 3)[0, :, 0], np.tile(np.arange(5) + 0.5, 4))


def test_windows_that_are_folded_are_mixtures_and_what_they_are_added_to_keeps_its_places() -> None:
    """VOLO's outlook attention: windows that overlap are put back where they were cut."""
    body = (
        "h = Concat<axis=1>(x, x, x, x, x, x, x, x, x) f = Reshape(h, flat) "
        "m = Col2Im<pads=[1, 1, 1, 1]>(f, size, block) y = Add(x, m)"
    )
    init = {"flat": np.array([0, 9, -1]), "size": np.array([4, 5]), "block": np.array([3, 3])}
    model = text_model(body, x="float[2,1,4,5] x", y="float[2,1,4,5] y", opset=18, init=init)
    mixed = coordinates_of(model)
    assert (coordinate(mixed, 2) == MIXED).all()
    assert (coordinate(mixed, 3) == MIXED).all()
    assert np.unique(coordinate(mixed, 0)).size == 2  # images are told apart
    assert np.array_equal(coordinate(coordinates_of(model, "y"), 2)[0, 0, :, 0], np.arange(4) + 0.5)
