"""Spatial pyramid pooling, and other flattened maps beside pooled ones, against formulas in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.helpers.support import (
    Head,
    assert_close,
    assert_mean_is_logits,
    chain,
    dense,
    frozen,
    images,
    lift,
    text_model,
    weights,
)

X, SIZE = "float[N,3,4,8] x", (4, 8)
WHOLE = (0, 4, 0, 8)
#: Bins of 1 x 1, 2 x 2 and 2 x 4 over a map of 4 x 8: their rows and columns, in reading order.
BINS = {1: [WHOLE], 4: [(r, r + 2, c, c + 4) for r in (0, 2) for c in (0, 4)]}
BINS[8] = [(r, r + 2, c, c + 2) for r in (0, 2) for c in (0, 2, 4, 6)]
KERNELS = {1: "4,8", 4: "2,4", 8: "2,2"}


def inside(window: tuple[int, int, int, int]) -> np.ndarray:
    """(H, W), 1 in a window."""
    mask = np.zeros(SIZE)
    mask[window[0] : window[1], window[2] : window[3]] = 1
    return mask


def mean_bins(cells: np.ndarray, windows: list[tuple[int, int, int, int]]) -> np.ndarray:
    """(N, C, windows, H, W): T / t of each cell in its window."""
    return np.stack([cells * inside(w) * 32 / inside(w).sum() for w in windows], axis=2)


def max_bins(cells: np.ndarray, windows: list[tuple[int, int, int, int]]) -> np.ndarray:
    """(N, C, windows, H, W): T times the largest cell of each window."""
    made = []
    for window in windows:
        held = np.where(inside(window) > 0, cells, -np.inf)
        made.append(32 * np.where(held == held.max(axis=(2, 3), keepdims=True), cells, 0))
    return np.stack(made, axis=2)


def channels(*bins: np.ndarray, last: bool = False) -> np.ndarray:
    """Bins (N, C, windows, H, W) flattened one by one, their channels first or last, and joined."""
    turned = [part.swapaxes(1, 2) if last else part for part in bins]
    return np.concatenate([part.reshape(part.shape[0], -1, *SIZE) for part in turned], axis=1)


def pyramid(kind: str, bins: list[int], *, spelling: str = "flatten") -> tuple[str, int]:
    """The statements of a pyramid, and how many numbers it makes."""
    body, parts = "", []
    for count in bins:
        body += f"s{count} = {kind}Pool<kernel_shape=[{KERNELS[count]}], strides=[{KERNELS[count]}]>(x)\n"
        made = f"s{count}"
        if spelling == "last":
            body += f"h{count} = Transpose<perm=[0, 2, 3, 1]>({made})\n"
            made = f"h{count}"
        target = "tokens" if spelling == "tokens" else "flat"
        body += f"f{count} = Reshape({made}, {target})\n"
        parts.append(f"f{count}")
    axis = 2 if spelling == "tokens" else 1
    body += f"j = Concat<axis={axis}>({', '.join(parts)})\n f = Flatten(j)\n"
    return body, 3 * sum(bins)


def head(body: str, count: int, tail: str = "y = Gemm<transB=1>(f, w, b)", **init: np.ndarray) -> onnx.ModelProto:
    """A dense layer, or another tail, on so many numbers."""
    ints = {"flat": np.array([0, -1]), "tokens": np.array([0, 3, -1])}
    return text_model(f"{body} {tail}", x=X, init={"w": weights(5, count), "b": weights(5)} | ints | init)


def check(model: onnx.ModelProto, formula: Head, verdict: str) -> None:
    found = lift(model, images(model))
    record = found.rewrite.heads[0]
    assert (found.verdict, record.position_dependent, record.grid_shape) == (verdict, True, ("N", 5, *SIZE))
    assert_mean_is_logits(found)
    assert_close(found.grid, formula(found.x.astype(np.float64)))
    np.testing.assert_array_equal(found.features, found.x)


@pytest.mark.parametrize("kind", ["Average", "Max"])
@pytest.mark.parametrize("spelling", ["flatten", "last", "tokens"])
def test_the_bins_of_a_pyramid_are_cells_of_the_map(kind: str, spelling: str) -> None:
    body, count = pyramid(kind, [4, 1, 8], spelling=spelling)
    of = mean_bins if kind == "Average" else max_bins

    def formula(cells: np.ndarray) -> np.ndarray:
        parts = [of(cells, BINS[bins]) for bins in (4, 1, 8)]
        if spelling == "tokens":
            parts = [np.concatenate(parts, axis=2)]
        return dense(weights(5, count), weights(5))(channels(*parts, last=spelling == "last"))

    check(head(body, count), formula, "exact" if kind == "Average" else "conditional")


def test_bins_of_two_kinds_and_an_activation_behind_them() -> None:
    one, _ = pyramid("Average", [4])
    two, _ = pyramid("Max", [8])
    body = f"{one} {two}".replace("j = Concat<axis=1>(f4)\n f = Flatten(j)\n", "").replace("(f8)", "(f4, f8)")
    v = weights(5, 7)
    model = head(body, 36, "h = Gemm<transB=1>(f, u)\n a = Relu(h)\n y = Gemm<transB=1>(a, v)", u=weights(7, 36), v=v)

    def bins(cells: np.ndarray) -> np.ndarray:
        return channels(mean_bins(cells, BINS[4]), max_bins(cells, BINS[8]))

    check(model, chain(bins, dense(weights(7, 36)), frozen(lambda z: np.maximum(z, 0)), dense(v)), "conditional")


def test_windows_that_overlap_and_windows_of_windows() -> None:
    body = (
        "a = AveragePool<kernel_shape=[2, 2], strides=[2, 2]>(x)\n s = AveragePool<kernel_shape=[2, 2], strides=[1, 2]>"
        "(a)\n t = AveragePool<kernel_shape=[4, 4], strides=[4, 2]>(x)\n fs = Flatten(s)\n ft = Flatten(t)\n"
        " f = Concat<axis=1>(fs, ft)\n"
    )
    windows = [[(0, 4, 0, 4), (0, 4, 4, 8)], [(0, 4, 0, 4), (0, 4, 2, 6), (0, 4, 4, 8)]]

    def formula(cells: np.ndarray) -> np.ndarray:
        return dense(weights(5, 15), weights(5))(channels(*(mean_bins(cells, part) for part in windows)))

    check(head(body, 15), formula, "exact")


def test_a_pyramid_over_a_signal() -> None:
    body = (
        "a = MaxPool<kernel_shape=[4], strides=[4]>(x)\n g = GlobalAveragePool(x)\n fa = Flatten(a)\n fg = Flatten(g)\n"
        " f = Concat<axis=1>(fa, fg)\n y = Gemm<transB=1>(f, w)"
    )
    model = text_model(body, x="float[N,6,8] x", init={"w": weights(5, 18)})
    found = lift(model, images(model))
    cells = found.x.astype(np.float64)
    held = np.stack([np.zeros_like(cells)] * 2, axis=2)
    for window in range(2):
        own = cells[:, :, window * 4 : window * 4 + 4]
        held[:, :, window, window * 4 : window * 4 + 4] = 8 * np.where(own == own.max(axis=2, keepdims=True), own, 0)
    expected = dense(weights(5, 18))(np.concatenate([held.reshape(-1, 12, 1, 8), cells[:, :, None]], axis=1))
    assert_mean_is_logits(found)
    assert_close(found.grid, expected)


def test_copies_between_the_steps_hide_nothing() -> None:
    """Paddle's exporter and MXNet's Dropout leave Identities."""
    one, two = pyramid("Max", [4])[0], pyramid("Max", [8])[0]
    body = f"{one} {two}".replace("j = Concat<axis=1>(f4)\n f = Flatten(j)\n", "").replace("(f8)", "(f4, f8)")
    body = "u = Identity(x)\n" + body.replace("(x)", "(u)").replace("u = Identity(u)", "u = Identity(x)")
    body = body.replace("Reshape(s4,", "Reshape(i4,").replace("f4 =", "i4 = Identity(s4)\n f4 =")

    def formula(cells: np.ndarray) -> np.ndarray:
        return dense(weights(5, 36), weights(5))(channels(max_bins(cells, BINS[4]), max_bins(cells, BINS[8])))

    check(head(body, 36), formula, "conditional")


def test_a_flattened_map_beside_a_pool_of_it() -> None:
    body = "k = Conv(x, c)\n m = Flatten(k)\n g = GlobalAveragePool(k)\n p = Flatten(g)\n f = Concat<axis=1>(m, p)\n"
    w = weights(5, 99)

    def formula(cells: np.ndarray) -> np.ndarray:
        own = np.einsum("kchw,nchw->nkhw", w[:, :96].reshape(5, 3, *SIZE).astype(np.float64), cells) * 32
        return own + dense(w[:, 96:], weights(5))(cells)

    check(head(body, 99, c=np.eye(3, dtype=np.float32)[:, :, None, None]), formula, "exact")


def test_a_single_max_pool_is_a_layer_of_the_trunk() -> None:
    """Nothing else reads the map behind it, whose cells would depend on the image."""
    body, count = pyramid("Max", [4])
    model = head(body, count)
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].grid_shape) == ("exact", ("N", 5, 2, 2))
    assert_mean_is_logits(found)
