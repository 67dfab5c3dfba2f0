"""A graph of one input size opened for another: against the same network built at that size, by another evaluator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.proof.report import ProofError
from onnx_gapmil.rewriting.sizing import opening, original
from onnx_gapmil.rewriting.sizing.opening import at_size
from onnx_gapmil.rewriting.sizing.record import size_of
from onnx_gapmil.rewriting.sizing.rules import RULES
from onnx_gapmil.rewriting.sizing.walk import SizeWalk
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers import sized
from tests.helpers.support import rng, run, text_model, weights

OLD, NEW = (16, 24), (40, 56)
#: What becomes another operator, and so may round otherwise at the original size.
ROUNDED = {"window", "scaled sum", "gate by a window"}


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of an earlier run."""
    monkeypatch.setattr(original, "recall", lambda *_: None)
    monkeypatch.setattr(original, "remember", lambda *_: None)


@pytest.mark.parametrize("new", [NEW, (64, 64), (8, 8)])
@pytest.mark.parametrize("kind", sized.BAKED)
def test_an_opened_graph_is_the_network_built_at_that_size(kind: str, new: tuple[int, int]) -> None:
    opened = at_size(load_model(sized.model(kind, *OLD)), new)
    x = sized.photos(*new)
    expected = sized.by_reference(sized.model(kind, *new), x)
    np.testing.assert_allclose(run(opened.proto, x)[0], expected, rtol=1e-4, atol=1e-5)
    record = size_of(opened.metadata)
    assert record is not None
    assert record.size == new
    assert record.original == OLD
    assert record.changes
    assert record.residual is not None
    assert record.residual < 2e-5
    if kind not in ROUNDED:
        assert record.residual == 0


@pytest.mark.parametrize("kind", sized.BAKED)
def test_its_nodes_give_the_vendors_outputs_at_the_original_size(kind: str) -> None:
    vendor = sized.model(kind, *OLD)
    opened = at_size(load_model(vendor), NEW).proto
    for dim, length in zip(opened.graph.input[0].type.tensor_type.shape.dim[2:], OLD, strict=True):
        dim.dim_value = length
    x = sized.photos(*OLD)
    np.testing.assert_allclose(run(opened, x)[0], run(vendor, x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["window", "channel shuffle", "tokens", "flattened positions"])
def test_a_fixed_batch_stays_what_it_is(kind: str) -> None:
    opened = at_size(load_model(sized.model(kind, *OLD, batch=1)), NEW)
    x = sized.photos(*NEW, count=1)
    np.testing.assert_allclose(
        run(opened.proto, x)[0], sized.by_reference(sized.model(kind, *NEW), x), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["window", "channel shuffle", "tokens"])
def test_sum_and_places_hold_at_both_sizes(kind: str) -> None:
    small, large = rewrite(sized.model(kind, *OLD)), rewrite(sized.model(kind, *OLD), size=NEW)
    for found, size in ((small, OLD), (large, NEW)):
        assert found.proof is not None
        assert found.proof.passed
        assert list(found.heads[0].grid_shape[2:]) == [side // 4 for side in size]
        x = sized.photos(*size)
        names = [found.heads[0].logits, found.heads[0].grid]
        logits, grid = run(found.model, x, [str(name) for name in names])
        np.testing.assert_allclose(grid.mean(axis=(2, 3)), logits, rtol=1e-4, atol=1e-5)
    first, second = small.heads[0].places, large.heads[0].places
    assert first.known
    assert second.known
    assert (first.rows, first.columns) == (second.rows, second.columns)


def test_a_grid_of_an_opened_model_is_the_reference_cell_by_cell() -> None:
    """The map of the network built at the new size, by the reference evaluator, through the head in NumPy."""
    found = rewrite(sized.model("window", *OLD), size=NEW)
    x = sized.photos(*NEW)
    grid = run(found.model, x, [str(found.heads[0].grid)])[0]
    large = sized.model("window", *NEW)
    large.graph.output.append(helper.make_tensor_value_info("m", onnx.TensorProto.FLOAT, None))
    features = np.asarray(ReferenceEvaluator(large).run(["m"], {"x": x})[0])
    expected = np.einsum("kc,nchw->nkhw", weights(5, 8), features) + weights(5)[:, None, None]
    np.testing.assert_allclose(grid, expected, rtol=1e-4, atol=1e-4)


def test_an_open_size_is_only_declared() -> None:
    body = "p = GlobalAveragePool(x)  e = Flatten(p)  y = Gemm<transB=1>(e, w)"
    vendor = text_model(body, x="float[N,3,H,W] x", init={"w": weights(5, 3)})
    opened = at_size(load_model(vendor), NEW)
    record = size_of(opened.metadata)
    assert record is not None
    assert record.original is None
    assert record.residual is None
    assert not record.changes
    assert list(opened.proto.graph.node) == list(vendor.graph.node)
    assert [dim.dim_value for dim in opened.proto.graph.input[0].type.tensor_type.shape.dim[2:]] == list(NEW)


def test_the_models_own_size_changes_nothing() -> None:
    source = load_model(sized.model("window", *OLD))
    assert at_size(source, OLD) is source
    assert at_size(source, None) is source


def test_nhwc_images_are_opened_along_their_own_axes() -> None:
    def built(h: int, w: int) -> onnx.ModelProto:
        return text_model(
            "t = Transpose<perm=[0,3,1,2]>(x)  m = Conv<strides=[4,4]>(t, k)  "
            f"p = AveragePool<kernel_shape=[{h // 4},{w // 4}]>(m)  e = Flatten(p)  y = Gemm<transB=1>(e, w)",
            x=f"float[N,{h},{w},3] x",
            init={"k": weights(8, 3, 4, 4), "w": weights(5, 8)},
        )

    opened = at_size(load_model(built(*OLD)), NEW)
    x = sized.photos(*NEW).transpose(0, 2, 3, 1).copy()
    np.testing.assert_allclose(run(opened.proto, x)[0], sized.by_reference(built(*NEW), x), rtol=1e-4, atol=1e-4)


H, W = OLD[0] // 4, OLD[1] // 4
REFUSED = {
    "a position embedding": ("g = Add(m, pos)  p = GlobalAveragePool(g)", "'pos' of shape", {"pos": (1, 8, H, W)}),
    "weights of positions": ("g = Mul(m, flex)  p = GlobalAveragePool(g)", "'flex' of shape", {"flex": (1, 1, H, W)}),
    "a kernel of the whole map": ("p = Conv(m, big)", f"kernel of {H}x{W}, the whole map", {"big": (8, 8, H, W)}),
    "a dense layer over tokens": (
        f"s = Constant<value_ints=[-1, 8, {H * W}]>()  f = Reshape(m, s)  d = MatMul(f, mix)  "
        "p = ReduceMean<axes=[2], keepdims=1>(d)",
        f"all {H * W} values of a map's positions by the weights 'mix'",
        {"mix": (H * W, H * W)},
    ),
    "windows": (
        f"s = Constant<value_ints=[-1, 8, 2, 2, 2, {W // 2}]>()  f = Reshape(m, s)  "
        f"t = Transpose<perm=[0,1,2,4,3,5]>(f)  s2 = Constant<value_ints=[-1, 8, {H}, {W}]>()  g = Reshape(t, s2)  "
        "p = GlobalAveragePool(g)",
        "windows",
        {},
    ),
    "rows by number": (
        "i = Constant<value_ints=[3, 2, 1, 0]>()  g = Gather<axis=2>(m, i)  p = GlobalAveragePool(g)",
        "picks positions by number",
        {},
    ),
    "parts of fixed lengths": (
        "n = Constant<value_ints=[1, 3]>()  g, h = Split<axis=2>(m, n)  p = GlobalAveragePool(h)",
        "splits the 4 positions of axis 2 at fixed places",
        {},
    ),
    "a cut within the map": (
        "a = Constant<value_ints=[0]>()  z = Constant<value_ints=[3]>()  ax2 = Constant<value_ints=[2]>()  "
        "g = Slice(m, a, z, ax2)  p = GlobalAveragePool(g)",
        "cuts axis 2 of 4 at 3",
        {},
    ),
    "a sum of positions": ("p = ReduceSum<keepdims=1>(m, ax)", f"adds up {H * W} positions", {}),
    "all rows of the map": (
        f"a = AveragePool<kernel_shape=[{H},1]>(m)  p = GlobalAveragePool(a)",
        "all rows or all columns",
        {},
    ),
    "a layer norm over positions": (
        "g = LayerNormalization<axis=1>(m, scale)  p = GlobalAveragePool(g)",
        "'scale' of shape",
        {"scale": (8, H, W)},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_made_for_one_size_is_refused_by_name(name: str) -> None:
    body, said, init = REFUSED[name]
    vendor = sized.built(body, *OLD, **{key: weights(*shape) for key, shape in init.items()})
    with pytest.raises(ModelError) as caught:
        at_size(load_model(vendor), NEW)
    assert said in str(caught.value)
    assert f"--size {NEW[0]}x{NEW[1]}" in str(caught.value)
    assert "leave --size out" in str(caught.value)


def test_a_constant_that_happens_to_fit_the_new_size_is_refused_all_the_same() -> None:
    """A map of 1x1 at the new size would be spread over a constant of the old one's positions without a word."""
    vendor = sized.built("g = Add(m, pos)  p = GlobalAveragePool(g)", *OLD, pos=weights(1, 8, H, W))
    with pytest.raises(ModelError, match="'pos'"):
        at_size(load_model(vendor), (4, 4))


def test_a_larger_image_that_would_be_a_larger_batch_is_refused() -> None:
    """``Reshape`` to (-1, 8 * h * w) takes four times the positions for four images."""
    body = f"s = Constant<value_ints=[-1, {8 * H * W}]>()  f = Reshape(m, s)  y = MatMul(f, d)"
    vendor = sized.built(body, *OLD, d=weights(8 * H * W, 5))
    del vendor.graph.node[-2:]  # the head behind the pool
    with pytest.raises(ModelError, match="weights 'd'"):
        at_size(load_model(vendor), (OLD[0] * 2, OLD[1] * 2))


def test_a_map_of_one_position_has_no_pool_that_could_grow() -> None:
    vendor = text_model(
        "m = Conv<strides=[8,8]>(x, k)  "
        "s = Constant<value_ints=[-1, 8]>()  f = Reshape(m, s)  y = Gemm<transB=1>(f, w)",
        x="float[N,3,8,8] x",
        init={"k": weights(8, 3, 4, 4), "w": weights(5, 8)},
    )
    with pytest.raises(ModelError, match="one value a channel"):
        at_size(load_model(vendor), (16, 16))


def test_several_inputs_and_signals_have_no_image_size() -> None:
    two = text_model("y = Add(x, z)", x="float[N,5] x, float[N,5] z")
    with pytest.raises(InputError, match="takes 2 inputs"):
        at_size(load_model(two), NEW)
    signal = text_model("p = ReduceMean<axes=[2], keepdims=0>(x)  y = Identity(p)", x="float[N,5,100] x")
    with pytest.raises(InputError, match="takes no image"):
        at_size(load_model(signal), NEW)


def test_a_rewritten_file_keeps_its_size() -> None:
    made = rewrite(sized.model("window", *OLD)).model
    with pytest.raises(ModelError, match="give the vendor's original"):
        at_size(load_model(made), NEW)


def test_an_opened_graph_that_is_not_the_vendors_at_the_original_size_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(walk: SizeWalk, node: onnx.NodeProto) -> tuple[onnx.NodeProto, ...]:
        walk.changing(node, "became a maximum")
        return (helper.make_node("GlobalMaxPool", list(node.input), list(node.output)),)

    monkeypatch.setattr(opening, "RULES", {**RULES, "AveragePool": wrong})
    with pytest.raises(ProofError, match="does not give the vendor's outputs at the original size"):
        at_size(load_model(sized.model("window", *OLD)), NEW)


def test_random_reshapes_of_maps_are_regrouped_as_numpy_does() -> None:
    """Chains of merges and splits: the opened target gives what the same chain gives at the new size."""
    generator = rng(5)
    for _ in range(6):
        groups = int(generator.choice([1, 2, 4, 8]))
        order = [int(axis) for axis in generator.permutation(4)]

        def chain(h: int, w: int, groups: int = groups, order: list[int] = order) -> str:
            lengths = [groups, 8 // groups, h, w]
            turned = [lengths[axis] for axis in order]
            back = [int(np.argsort(order)[axis]) + 1 for axis in range(4)]
            merged = [turned[0] * turned[1], turned[2] * turned[3]]
            ints = [", ".join(map(str, [-1, *each])) for each in (lengths, merged, turned, [8, h, w])]
            perm, inverse = ([0, *[axis + 1 for axis in order]], [0, *back])
            return (
                f"s1 = Constant<value_ints=[{ints[0]}]>()  f = Reshape(m, s1)  t = Transpose<perm={perm}>(f)  "
                f"s2 = Constant<value_ints=[{ints[1]}]>()  g = Reshape(t, s2)  a = Tanh(g)  "
                f"s3 = Constant<value_ints=[{ints[2]}]>()  u = Reshape(a, s3)  v = Transpose<perm={inverse}>(u)  "
                f"s4 = Constant<value_ints=[{ints[3]}]>()  q = Reshape(v, s4)  p = GlobalAveragePool(q)"
            )

        vendor = sized.built(chain(H, W), *OLD)
        opened = at_size(load_model(vendor), NEW)
        x = sized.photos(*NEW)
        expected = sized.by_reference(sized.built(chain(NEW[0] // 4, NEW[1] // 4), *NEW), x)
        np.testing.assert_allclose(run(opened.proto, x)[0], expected, rtol=1e-4, atol=1e-5)


def branching(condition: str, h: int, w: int) -> onnx.ModelProto:
    """A window over the whole map in one branch, minus the map in the other."""
    body = (
        f"{condition}  g = If(yes) <"
        f"then_branch = one () => (float q) {{ q = AveragePool<kernel_shape=[{h // 4},{w // 4}]>(m) }}, "
        "else_branch = two () => (float q) { q = Neg(m) }>  p = GlobalAveragePool(g)  e = Flatten(p)  "
        "y = Gemm<transB=1>(e, w)"
    )
    return text_model(
        f"m = Conv<strides=[4,4]>(x, k)  {body}",
        x=f"float[N,3,{h},{w}] x",
        init={"k": weights(8, 3, 4, 4), "w": weights(5, 8)},
    )


BRANCHES = {
    "a constant": "t = Constant<value_int=1>()  yes = Cast<to=9>(t)",
    "the number of channels": (
        "s = Shape(m)  i = Constant<value_int=1>()  c = Gather(s, i)  k8 = Constant<value_int=8>()  yes = Equal(c, k8)"
    ),
}


@pytest.mark.parametrize("condition", BRANCHES.values(), ids=list(BRANCHES))
def test_a_branch_that_any_size_takes_is_followed(condition: str) -> None:
    opened = at_size(load_model(branching(condition, *OLD)), NEW)
    x = sized.photos(*NEW)
    expected = sized.by_reference(branching(condition, *NEW), x)
    np.testing.assert_allclose(run(opened.proto, x)[0], expected, rtol=1e-4, atol=1e-5)
    record = size_of(opened.metadata)
    assert record is not None
    assert record.residual is not None
    assert record.residual < 2e-5


def test_a_branch_that_the_size_decides_is_refused() -> None:
    condition = (
        "s = Shape(m)  i = Constant<value_int=2>()  r = Gather(s, i)  k8 = Constant<value_int=8>()  yes = Less(r, k8)"
    )
    with pytest.raises(ModelError, match="holds a graph of its own, which is not looked into"):
        at_size(load_model(branching(condition, *OLD)), NEW)


@pytest.mark.parametrize("kind", ["window", "flattened positions", "tokens"])
def test_a_size_with_one_position_says_so(kind: str) -> None:
    with pytest.raises(UnsupportedHeadError) as caught:
        rewrite(sized.model(kind, *OLD), size=(4, 4))
    refusal = caught.value.refusal
    assert refusal.code == "no-spatial-pool"
    assert "at --size 4x4 the map that it pools has one position" in refusal.message
    assert refusal.advice.startswith("Choose a larger --size")


def test_a_refusal_of_another_cause_stays_what_it_is_at_another_size() -> None:
    body = "p = GlobalAveragePool(x)  e = Flatten(p)  q = Softmax<axis=0>(e)  y = Gemm<transB=1>(q, w)"
    vendor = text_model(body, x="float[N,3,H,W] x", init={"w": weights(5, 3)})
    said = []
    for size in (None, NEW):
        with pytest.raises(UnsupportedHeadError) as caught:
            rewrite(vendor, size=size)
        said.append(caught.value.refusal.message)
    assert said[0] == said[1]
