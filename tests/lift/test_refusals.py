"""Every reason to refuse, with the node where the walk ended; and graphs that try to get a wrong grid."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.lift.verdict import ADVICE
from tests.helpers.support import assert_close, check_refused, images, lift, text_model, weights

W = weights(5, 6)
CONV = {"c": weights(6, 6, 1, 1)}
POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)"
TOKENS = "k = Conv(x, c)\n r = Reshape(k, flat)\n t = Transpose<perm=[0, 2, 1]>(r)\n"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


FLAT = {"flat": ints(0, 6, -1)}

#: Refusals of quantized heads are tested beside their rules, and beside the proof that finds them too coarse.
COVERED_ELSEWHERE = {"quantized-nonuniform", "quantized-too-coarse", "not-repoolable"}
CODES_SEEN: dict[str, str] = {
    "class-token": "test_class_token_is_named",
    "flatten-head": "test_flatten_head_is_named",
    "no-spatial-pool": "test_head_without_a_pool",
    "partial-pool": "test_partial_pool",
    "spatial-mixing-after-pool": "test_mean_over_the_frames_of_a_video_is_refused",
    "unknown-operator": "test_operator_without_a_rule",
    "not-a-classifier": "test_output_that_is_no_vector_of_scores",
    "side-input": "test_side_input",
    "random-head": "test_random_head",
    "blocked-layout": "test_blocked_layout",
    "different-grids": "test_grids_of_different_size",
    "different-views": "test_branch_on_the_mirrored_image_is_not_joined_cell_by_cell",
    "sampled-places": "test_places_that_the_image_decides",
    "head-too-deep": "test_head_too_deep",
    "no-image": "test_input_that_is_no_image",
    "ensemble": "test_members_of_an_ensemble_without_a_pool",
    "learned-tokens": "test_mean_over_two_prefix_tokens_is_refused",
}


def test_every_code_of_advice_is_covered() -> None:
    assert set(ADVICE) <= set(CODES_SEEN) | COVERED_ELSEWHERE
    assert all(name in globals() for name in CODES_SEEN.values())


def test_advice_is_a_sentence_for_each_code() -> None:
    for code, advice in ADVICE.items():
        assert advice.endswith("."), code
        assert len(advice) > 40, code


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("q = Gather<axis=1>(t, i)", {"i": np.int64(0)}, id="gather_first"),
        pytest.param("q = Gather<axis=1>(t, i)", {"i": np.int64(-1)}, id="gather_last"),
        pytest.param("s = Slice(t, z, o, o)\n q = Squeeze(s, o)", {"z": ints(0), "o": ints(1)}, id="slice_and_squeeze"),
    ],
)
def test_class_token_is_named(body: str, init: dict[str, np.ndarray]) -> None:
    model = text_model(f"{TOKENS} {body}\n y = Gemm<transB=1>(q, w)", init={"w": W} | CONV | FLAT | init)
    refusal = check_refused(model, "class-token")
    assert "15 tokens" in refusal.message


def test_a_class_token_that_is_split_off_is_named() -> None:
    """CvT by PyTorch's dynamo exporter: a Split of token and patches, of which the token's mean is read."""
    model = text_model(
        "m = MatMul(q, x)\n a = Softmax<axis=-1>(m)\n t = Mul(a, x)\n c, r = Split<axis=1>(t, parts)\n"
        " p = ReduceMean<axes=[1], keepdims=0>(c)\n y = Gemm<transB=1>(p, w, b)",
        x="float[N,17,6] x",
        init={"q": weights(17, 17), "parts": np.array([1, 16]), "w": weights(5, 6), "b": weights(5)},
    )
    refusal = check_refused(model, "class-token")
    assert "takes one of 17 tokens" in refusal.message


def test_class_token_beside_a_mean_is_named() -> None:
    """DINOv2: class token and mean of the patches, concatenated."""
    model = text_model(
        f"{TOKENS} q = Gather<axis=1>(t, i)\n m = ReduceMean<axes=[1], keepdims=0>(t)\n j = Concat<axis=1>(q, m)\n"
        " y = Gemm<transB=1>(j, w)",
        init={"w": weights(5, 12), "i": np.int64(0)} | CONV | FLAT,
    )
    check_refused(model, "class-token", "'q'")


@pytest.mark.parametrize(
    ("body", "node"),
    [
        pytest.param("f = Flatten(k)\n t = Transpose(f)\n y = Gemm<transA=1, transB=1>(t, w)", "'f'", id="turned"),
        pytest.param("f = Flatten(k)\n g = Gather<axis=1>(f, i)\n y = Gemm<transB=1>(g, w)", "'y'", id="shuffled"),
        pytest.param("q = Conv<group=2>(k, full)\n y = Flatten(q)", "'q'", id="convolution_in_groups"),
    ],
)
def test_flatten_head_is_named(body: str, node: str) -> None:
    init = {"w": weights(5, 90), "i": np.arange(90)[::-1].copy(), "full": weights(4, 3, 3, 5)} | CONV
    classes = 4 if "full" in body else 5
    check_refused(text_model(f"k = Conv(x, c)\n {body}", y=f"float[N,{classes}] y", init=init), "flatten-head", node)


def test_head_without_a_pool() -> None:
    model = text_model("y = Gemm<transB=1>(x, w)", x="float[N,6] x", init={"w": W})
    check_refused(model, "no-image", "input 'x'")
    model = text_model("r = Relu(x)\n y = Conv(r, c)", y="float[N,6,1,1] y", x="float[N,6,1,1] x", init=CONV)
    check_refused(model, "no-spatial-pool", "input 'x'")


def test_partial_pool() -> None:
    model = text_model(
        "p = ReduceMean<axes=[2], keepdims=0>(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w)",
        init={"w": weights(5, 30)},
    )
    check_refused(model, "partial-pool", "'p'")


def test_operator_without_a_rule() -> None:
    model = text_model(f"{POOL}\n h = Hardmax(f)\n y = Gemm<transB=1>(h, w)", init={"w": W})
    refusal = check_refused(model, "unknown-operator", "'h'")
    assert "Hardmax" in refusal.message


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        pytest.param("y = Conv(x, c)", "N,6,3,5", id="segmentation_map"),
        pytest.param(
            "k = Conv(x, c)\n r = Reshape(k, flat)\n y = Transpose<perm=[0, 2, 1]>(r)", "N,15,6", id="detector_boxes"
        ),
        pytest.param("k = Conv(x, c)\n y = Softmax<axis=1>(k)", "N,6,3,5", id="softmax_of_a_map"),
    ],
)
def test_output_that_is_no_vector_of_scores(body: str, shape: str) -> None:
    model = text_model(body, y=f"float[{shape}] y", init=CONV | FLAT)
    check_refused(model, "not-a-classifier")


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("s = Add(f, meta)", {}, id="added"),
        pytest.param("s = Add(meta, f)", {}, id="added_first"),
        pytest.param("s = Mul(f, meta)", {}, id="multiplied"),
        pytest.param(
            "j = Concat<axis=1>(f, meta)\n s = Gemm<transB=1>(j, v)", {"v": weights(6, 12)}, id="concatenated"
        ),
        pytest.param(
            "j = Concat<axis=1>(meta, f)\n s = Gemm<transB=1>(j, v)", {"v": weights(6, 12)}, id="concatenated_first"
        ),
        pytest.param("e = Relu(meta)\n s = Sub(f, e)", {}, id="subtracted_after_an_operator"),
        pytest.param("s = Gemm<transB=1>(f, v, meta)", {"v": weights(6, 6)}, id="as_a_bias"),
    ],
)
def test_side_input(body: str, init: dict[str, np.ndarray]) -> None:
    model = text_model(
        f"{POOL}\n {body}\n y = Gemm<transB=1>(s, w)", x="float[N,6,3,5] x, float[N,6] meta", init={"w": W} | init
    )
    check_refused(model, "side-input")


def test_a_number_of_the_whole_image_has_no_place() -> None:
    """The brightness of a photo beside what was pooled of a map of it."""
    model = text_model(
        "m = Conv<strides=[2, 2]>(x, k)\n p = GlobalAveragePool(m)\n f = Flatten(p)\n"
        " b = ReduceMean<axes=[1, 2, 3], keepdims=0>(x)\n u = Unsqueeze(b, one)\n j = Concat<axis=1>(f, u)\n"
        " y = Gemm<transB=1>(j, w)",
        x="float[N,3,16,20] x",
        init={"k": weights(6, 3, 2, 2), "one": np.array([1]), "w": weights(5, 7)},
    )
    refusal = check_refused(model, "side-input", "'j'")
    assert "it reduces the whole input 'x' to a number, colours and all" in refusal.message


@pytest.mark.parametrize("join", ["Concat<axis=1>(f, e)", "Concat<axis=1>(e, f)", "Add(f, e)", "Add(e, f)"])
def test_a_second_input_is_named_at_the_join_whatever_the_order(join: str) -> None:
    wide = 12 if "Concat" in join else 6
    model = text_model(
        f"{POOL}\n e = MatMul(age, v)\n j = {join}\n y = MatMul(j, w)",
        x="float[N,6,3,5] x, float[N,2] age",
        init={"v": weights(2, 6), "w": weights(wide, 5)},
    )
    refusal = check_refused(model, "side-input", "'j'")
    assert "it joins the pooled tensor with 'e', which no place of the image makes" in refusal.message


@pytest.mark.parametrize(
    "body",
    [
        "r = RandomNormalLike(f)\n s = Add(f, r)",
        "r = RandomUniformLike(f)\n s = Mul(r, f)",
        "s = Dropout(f, ratio, train)",
        "g = Sigmoid(f)\n s = Bernoulli(g)",
    ],
)
def test_random_head(body: str) -> None:
    init = {"w": W, "ratio": np.float32(0.5), "train": np.array(True)}
    check_refused(text_model(f"{POOL}\n {body}\n y = Gemm<transB=1>(s, w)", init=init), "random-head")


@pytest.mark.parametrize(
    "trunk",
    [
        "m = Dropout(x, half, on)",
        "p = Sigmoid(x)\n d = Bernoulli(p)\n m = Mul(x, d)",
    ],
    ids=["dropout", "drawn"],
)
def test_a_map_that_is_random_is_refused_before_its_proof_fails(trunk: str) -> None:
    init = {"half": np.float32(0.5), "on": np.asarray(True), "w": weights(5, 6)}
    head = "g = GlobalAveragePool(m)\n f = Flatten(g)\n y = Gemm<transB=1>(f, w)"
    check_refused(text_model(f"{trunk}\n {head}", init=init), "random-head", "GlobalAveragePool")


def test_blocked_layout() -> None:
    """What ONNX Runtime saves after its layout optimization."""
    model = text_model(
        "a = com.microsoft.nchwc.ReorderInput(x)\n p = com.microsoft.nchwc.GlobalAveragePool(a)\n"
        " q = com.microsoft.nchwc.ReorderOutput<channels=16>(p)\n f = Flatten(q)\n y = Gemm<transB=1>(f, w)",
        x="float[1,16,3,5] x",
        y="float[1,5] y",
        domains='"com.microsoft.nchwc" : 1',
        init={"w": weights(5, 16)},
    )
    check_refused(model, "blocked-layout")


@pytest.mark.parametrize("join", ["s = Concat<axis=1>(f, g)", "s = Add(f, g)"])
def test_grids_of_different_size(join: str) -> None:
    """Where the input's size is left open, grids cannot be brought to one size."""
    model = text_model(
        f"{POOL}\n k = Conv<strides=[2, 2]>(x, c)\n g = ReduceMean<axes=[2, 3], keepdims=0>(k)\n {join}\n"
        " y = Gemm<transB=1>(s, w)",
        x="float[N,6,H,W] x",
        init={"w": weights(5, 12 if "Concat" in join else 6)} | CONV,
    )
    refusal = check_refused(model, "different-grids", "'s'")
    assert "224x224" in refusal.message
    assert "112x112" in refusal.message


def test_head_too_deep() -> None:
    steps = "\n".join(f"a{place + 1} = Neg(a{place})" for place in range(130))
    model = text_model(f"{POOL}\n a0 = Identity(f)\n {steps}\n y = Gemm<transB=1>(a130, w)", init={"w": W})
    check_refused(model, "head-too-deep", "Neg")


def test_refusal_tells_the_way_it_walked() -> None:
    model = text_model(f"{POOL}\n h = Hardmax(f)\n y = Gemm<transB=1>(h, w)", init={"w": W})
    refusal = check_refused(model, "unknown-operator")
    assert [step.split(" ")[0] for step in refusal.walked] == ["Gemm", "Hardmax"]
    assert set(refusal.to_json()) == {"code", "node", "message", "advice", "walked"}


@pytest.mark.parametrize("x", ["float[N,20] x", "float[N] x"])
def test_input_that_is_no_image(x: str) -> None:
    body = "f = Relu(x)" if "20" in x else "f = Unsqueeze(x, one)"
    model = text_model(
        f"{body}\n y = Gemm<transB=1>(f, w)", x=x, init={"w": weights(5, 20 if "20" in x else 1), "one": ints(1)}
    )
    assert "no rows and columns" in check_refused(model, "no-image", "'x'").message


def test_members_of_an_ensemble_without_a_pool() -> None:
    model = text_model(
        f"{TOKENS} e = Gather<axis=1>(t, i)\n a = Gemm<transB=1>(e, w)\n b = Gemm<transB=1>(e, v)\n"
        " p = Softmax<axis=1>(a)\n q = Softmax<axis=1>(b)\n y = Mean(p, q)",
        init={"w": W, "v": weights(5, 6, seed=2), "i": np.int64(0)} | CONV | FLAT,
    )
    assert "class-token" in check_refused(model, "ensemble", "'y'").message


# --- graphs that hold the identity, mean = logits, on cells that are no places of the image --------------------------


@pytest.mark.parametrize(
    ("body", "init", "code"),
    [
        pytest.param(
            "g = Flatten(x)\n z = Gemm<transB=1>(g, v)\n r = Reshape(z, s)\n q = GlobalAveragePool(r)\n y = Flatten(q)",
            {"v": weights(20, 90), "s": ints(0, 5, 2, 2)},
            "flatten-head",
            id="dense_layer_reshaped_to_a_map_and_pooled",
        ),
    ],
)
def test_cells_that_are_no_places(body: str, init: dict[str, np.ndarray], code: str) -> None:
    check_refused(text_model(f"{POOL}\n {body}", init=init), code)


@pytest.mark.parametrize("batch", ["N", "1"])
def test_mean_over_the_frames_of_a_video_is_refused(batch: str) -> None:
    model = text_model(
        "r = Reshape(x, a)\n p = GlobalAveragePool(r)\n t = Reshape(p, b)\n f = ReduceMean<axes=[1], keepdims=0>(t)\n"
        " y = Gemm<transB=1>(f, w)",
        x=f"float[{batch},4,6,3,5] x",
        y=f"float[{batch},5] y",
        init={"w": W, "a": ints(-1, 6, 3, 5), "b": ints(-1, 4, 6)},
    )
    check_refused(model, "spatial-mixing-after-pool")


def test_learned_queries_are_pools_whose_cells_are_the_patches() -> None:
    """Eight latents that attend to all patches have no place in the image; what they gather from has."""
    model = text_model(
        f"""{TOKENS}
        a = MatMul(queries, r)
        s = Softmax<axis=-1>(a)
        o = MatMul(s, t)
        p = MatMul(o, v)
        f = ReduceMean<axes=[1], keepdims=0>(p)
        y = Gemm<transB=1>(f, w)""",
        init={"w": W, "v": weights(6, 6), "queries": weights(1, 8, 6)} | CONV | FLAT,
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "conditional"
    cells = np.einsum("dc,nchw->ndhw", CONV["c"][:, :, 0, 0].astype(np.float64), x)
    keys = cells.reshape(3, 6, 15)
    scores = np.einsum("qc,nct->nqt", weights(1, 8, 6)[0].astype(np.float64), keys)
    shares = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    expected = 15 * np.einsum("nqt,nct,cd,kd->nkt", shares / 8, keys, weights(6, 6).astype(np.float64), W)
    assert_close(found.grid, expected.reshape(3, 5, 3, 5), 3e-5)


def test_mean_over_two_prefix_tokens_is_refused() -> None:
    """Class and distillation token, averaged."""
    model = text_model(
        f"""{TOKENS}
        q = Expand(prefix, like)
        j = Concat<axis=1>(q, t)
        n = LayerNormalization(j, g)
        s = Slice(n, zero, two, one)
        f = ReduceMean<axes=[1], keepdims=0>(s)
        y = Gemm<transB=1>(f, w)""",
        x="float[1,6,3,5] x",
        y="float[1,5] y",
        init={
            "w": W,
            "prefix": weights(1, 2, 6),
            "like": ints(1, 2, 6),
            "g": weights(6),
            "zero": ints(0),
            "one": ints(1),
            "two": ints(2),
        }
        | CONV
        | FLAT,
    )
    check_refused(model, "learned-tokens", "'f'")


def place_of(model: object, row: int, column: int) -> tuple[int, int]:
    """The cell that changes most where one position of a 4x6 map is lit."""
    x = np.zeros((1, 6, 4, 6), np.float32)
    dark = lift(model, x).grid[0]
    x[0, :, row, column] = 5
    change = np.abs(lift(model, x).grid[0] - dark).sum(axis=0)
    found = np.unravel_index(np.argmax(change), change.shape)
    return int(found[0]), int(found[1])


#: Ways to move positions between trunk and pool, after which the mean is the same and cell (i, j) is another place.
MOVED = {
    "transposed": ("m = Transpose<perm=[0, 1, 3, 2]>(k)\n p = GlobalAveragePool(m)", {}),
    "tokens_in_column_order": (
        "m = Transpose<perm=[0, 3, 2, 1]>(k)\n r = Reshape(m, t)\n p = ReduceMean<axes=[1]>(r)",
        {"t": ints(0, -1, 6)},
    ),
    "mirrored": (
        "m = Slice(k, last, first, axis, back)\n p = GlobalAveragePool(m)",
        {"last": ints(-1), "first": ints(-99), "axis": ints(3), "back": ints(-1)},
    ),
    "windows": (
        "a = Reshape(k, six)\n m = Transpose<perm=[0, 2, 4, 3, 5, 1]>(a)\n"
        " b = Reshape(m, four)\n p = ReduceMean<axes=[1, 2]>(b)",
        {"six": ints(0, 6, 2, 2, 2, 3), "four": ints(0, 4, 6, 6)},
    ),
    "shuffled": (
        "a = Reshape(k, flat)\n m = Transpose<perm=[0, 2, 1]>(a)\n"
        " b = Gather<axis=1>(m, order)\n p = ReduceMean<axes=[1]>(b)",
        {"flat": ints(0, 6, -1), "order": np.random.default_rng(3).permutation(24)},
    ),
}


def moved_model(name: str) -> onnx.ModelProto:
    body, init = MOVED[name]
    return text_model(
        f"k = Conv(x, c)\n {body}\n f = Reshape(p, vector)\n y = Gemm<transB=1>(f, w)",
        x="float[N,6,4,6] x",
        init={"w": W, "vector": ints(-1, 6)} | CONV | init,
    )


@pytest.mark.parametrize("name", MOVED)
def test_cell_of_a_map_that_was_moved_is_the_place_that_its_row_and_column_name(name: str) -> None:
    model = moved_model(name)
    assert place_of(model, 1, 4) == (1, 4)
    assert place_of(model, 3, 0) == (3, 0)


def test_branch_on_the_mirrored_image_is_not_joined_cell_by_cell() -> None:
    """Test-time augmentation in the graph: the mean of the answers to the image and to its mirror image."""
    model = text_model(
        """k = Conv(x, c)
        m = Slice(x, last, first, axis, back)
        n = Conv(m, c)
        p = GlobalAveragePool(k)
        q = GlobalAveragePool(n)
        s = Add(p, q)
        f = Flatten(s)
        y = Gemm<transB=1>(f, w)""",
        x="float[N,6,4,6] x",
        init={"w": W, "last": ints(-1), "first": ints(-99), "axis": ints(3), "back": ints(-1)} | CONV,
    )
    check_refused(model, "different-views")


def test_places_that_the_image_decides() -> None:
    """A spatial transformer: the box that is looked at is predicted."""
    model = text_model(
        """k = Conv(x, c)
        a = GlobalAveragePool(x)
        v = Flatten(a)
        box = MatMul(v, d)
        m = RoiAlign<output_height=2, output_width=3>(k, box, image)
        p = GlobalAveragePool(m)
        f = Flatten(p)
        y = Gemm<transB=1>(f, w)""",
        x="float[2,6,4,6] x",
        y="float[2,5] y",
        init={"w": W, "d": weights(6, 4), "image": ints(0, 1)} | CONV,
    )
    check_refused(model, "sampled-places", "'p'")


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("p = GlobalAveragePool(k)", {}, id="map"),
        pytest.param("m = Transpose<perm=[0, 2, 3, 1]>(k)\n p = ReduceMean<axes=[1, 2]>(m)", {}, id="nhwc"),
        pytest.param("m = Reshape(k, t)\n p = ReduceMean<axes=[2]>(m)", {"t": ints(0, 6, -1)}, id="flattened"),
        pytest.param(
            "m = Reshape(k, t)\n n = Transpose<perm=[0, 2, 1]>(m)\n p = ReduceMean<axes=[1]>(n)",
            {"t": ints(0, 6, -1)},
            id="tokens",
        ),
    ],
)
def test_cell_stays_in_its_place(body: str, init: dict[str, np.ndarray]) -> None:
    model = text_model(
        f"k = Conv(x, c)\n {body}\n f = Reshape(p, vector)\n y = Gemm<transB=1>(f, w)",
        x="float[N,6,4,6] x",
        init={"w": W, "vector": ints(-1, 6)} | CONV | init,
    )
    assert place_of(model, 1, 4) == (1, 4)
    assert place_of(model, 3, 0) == (3, 0)


def test_the_photos_of_two_inputs_are_named() -> None:
    """What is added up are cells of two photos, and no views of one."""
    model = text_model(
        "a = Conv(x, c)\n b = Conv(v, c)\n p = GlobalAveragePool(a)\n q = GlobalAveragePool(b)\n s = Add(p, q)\n"
        " f = Flatten(s)\n y = Gemm<transB=1>(f, w)",
        x="float[N,6,8,8] x, float[N,6,8,8] v",
        init={"w": W} | CONV,
    )
    refusal = check_refused(model, "different-views")
    assert "those of the inputs 'x' and 'v'" in refusal.message
    assert "several images" in refusal.advice


@pytest.mark.parametrize(
    "spelling",
    ["t = Transpose<perm=[0, 2, 1]>(r)\n b = MatMul(r, t)", 'b = Einsum<equation="ncp,ndp->ncd">(r, r)'],
)
def test_bilinear_pooling_is_no_flattened_map(spelling: str) -> None:
    """Sums over all places of products of two channels: nothing is left of a map that could be flattened."""
    model = text_model(
        f"k = Conv(x, c)\n r = Reshape(k, flat)\n {spelling}\n f = Flatten(b)\n y = Gemm<transB=1>(f, w2)",
        x="float[N,3,8,8] x",
        init={"w2": weights(5, 36), "c": weights(6, 3, 1, 1)} | FLAT,
    )
    refusal = check_refused(model, "unknown-operator", "'b'")
    assert "depend on the image" in refusal.message or "bilinear" in refusal.message


def test_an_entry_of_a_code_book_that_the_image_chooses_is_named() -> None:
    """Vector quantization behind the pool: which entry is nearest is no sum over cells."""
    body = f"{POOL}\n d = MatMul(f, k)\n i = ArgMax<axis=1, keepdims=0>(d)\n g = Gather(book, i)\n y = MatMul(g, w)"
    refusal = check_refused(
        text_model(body, init={"k": weights(6, 4), "book": weights(4, 6), "w": W.T.copy()}), "unknown-operator"
    )
    assert "looks up a constant where the image decides" in refusal.message


@pytest.mark.parametrize("operator", ["GRU", "LSTM"])
def test_a_recurrent_layer_behind_the_pool_makes_no_map(operator: str) -> None:
    """Its output (steps, directions, batch, channels) is not told from a map by its shape."""
    gates = {"GRU": 12, "LSTM": 16}[operator]
    body = f"{POOL}\n s = Unsqueeze(f, first)\n o = {operator}<hidden_size=4>(s, wi, wr)\n q = Squeeze(o, both)\n"
    init = {
        "wi": weights(1, gates, 6),
        "wr": weights(1, gates, 4),
        "first": ints(0),
        "both": ints(0, 1),
        "w": weights(5, 4),
    }
    refusal = check_refused(text_model(f"{body} y = Gemm<transB=1>(q, w)", init=init), "unknown-operator")
    assert f"there is no lift rule for {operator}" in refusal.message


def test_a_branch_that_the_image_chooses_is_no_one_head() -> None:
    """An early exit: where the first classifier is sure, the second does not run."""
    body = (
        f"{POOL}\n z = Gemm<transB=1>(f, w)\n m = ReduceMax<keepdims=0>(z)\n c = Greater(m, sure)\n"
        " y = If(c) <then_branch = one () => (float[N,5] t) { t = Identity(z) }, "
        "else_branch = two () => (float[N,5] t) { t = Gemm<transB=1>(f, v) }>"
    )
    init = {"w": W, "v": weights(5, 6, seed=3), "sure": np.float32(1)}
    refusal = check_refused(text_model(body, init=init), "unknown-operator")
    assert "the image decides which of its branches runs" in refusal.message


def test_weights_that_are_drawn_anew_each_time_are_random() -> None:
    model = text_model(f"{POOL}\n r = RandomNormal<shape=[6, 5]>()\n y = MatMul(f, r)")
    assert "makes random numbers" in check_refused(model, "random-head").message
