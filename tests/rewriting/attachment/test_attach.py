"""New nodes read maps, constants and logits alone, and the runtime makes of the vendor's graph what it made before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.deployed import MODES, assert_same_as_deployed, deployed, quantized
from tests.helpers.support import images, lift, text_model, weights

W, B = weights(5, 6), weights(5)
#: PyTorch's spelling of LayerNorm to operator set 16.
NORM = """p = GlobalAveragePool(k)
f = Flatten(p)
m = ReduceMean<axes=[1]>(f)
c = Sub(f, m)
s = Pow(c, two)
v = ReduceMean<axes=[1]>(s)
e = Add(v, eps)
r = Sqrt(e)
n = Div(c, r)
o = Mul(n, gain)
h = Add(o, shift)
y = Gemm<transB=1>(h, w, b)"""
GELU = """p = GlobalAveragePool(k)
f = Flatten(p)
d = Div(f, root)
e = Erf(d)
a = Add(e, one)
m = Mul(f, a)
h = Mul(m, half)
y = Gemm<transB=1>(h, w, b)"""
NHWC = """t = Transpose<perm=[0, 2, 3, 1]>(k)
p = ReduceMean<axes=[1, 2], keepdims=0>(t)
y = Gemm<transB=1>(p, w, b)"""
MEAN = """p = ReduceMean<axes=[2, 3], keepdims=0>(k)
a = Relu(p)
y = Gemm<transB=1>(a, w, b)"""
SILU = """p = GlobalAveragePool(k)
f = Flatten(p)
g = Sigmoid(f)
h = Mul(f, g)
y = Gemm<transB=1>(h, w, b)"""
POWERED = """r = Relu(k)
s = Pow(r, three)
p = GlobalAveragePool(s)
q = Pow(p, third)
f = Flatten(q)
y = Gemm<transB=1>(f, w, b)"""
HEADS = {"norm": NORM, "gelu": GELU, "nhwc": NHWC, "mean": MEAN, "silu": SILU, "powered": POWERED}
SCALARS = {"two": 2.0, "eps": 1e-5, "root": 2**0.5, "one": 1.0, "half": 0.5, "three": 3.0, "third": 1 / 3}


def vendor(name: str, kind: type = np.float32) -> onnx.ModelProto:
    """A convolution and a head."""
    body = HEADS[name]
    init = {"w": W, "b": B, "u": weights(6, 3, 3, 3), "gain": weights(6), "shift": weights(6, seed=1)}
    init |= {key: np.array(value) for key, value in SCALARS.items()}
    used = {key: array.astype(kind) for key, array in init.items() if key == "u" or key in body}
    word = "float16" if kind is np.float16 else "float"
    return text_model(f"k = Conv<pads=[1,1,1,1]>(x, u)\n{body}", x=f"{word}[N,3,6,6] x", y=f"{word}[N,5] y", init=used)


def reads_of_the_vendors(original: onnx.ModelProto, rewritten: onnx.ModelProto) -> set[str]:
    """The vendor's tensors that depend on the image and that new nodes read."""
    count = len(original.graph.node)
    own = {name for node in rewritten.graph.node[count:] for name in node.input}
    return own & {name for node in original.graph.node for name in node.output}


@pytest.mark.parametrize("name", HEADS)
def test_the_runtime_makes_the_same_of_every_head(name: str, tmp_path: Path) -> None:
    model = vendor(name)
    assert_same_as_deployed(model, rewrite_model(model).model, tmp_path)


@pytest.mark.parametrize(
    ("name", "read"),
    [("norm", "k"), ("gelu", "k"), ("nhwc", "k"), ("mean", "k"), ("silu", "k"), ("powered", "s")],
)
def test_new_nodes_read_the_map_and_the_logits_alone(name: str, read: str) -> None:
    model = vendor(name)
    assert reads_of_the_vendors(model, rewrite_model(model).model) == {read, "y"}


@pytest.mark.parametrize("name", HEADS)
def test_the_mean_of_what_is_recomputed_is_the_vendors_logit(name: str) -> None:
    model = vendor(name)
    found = lift(model, images(model))
    np.testing.assert_allclose(found.grid.mean(axis=(2, 3)), found.vendor[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_half_precision_is_not_rounded_elsewhere(name: str, tmp_path: Path) -> None:
    model = vendor(name, np.float16)
    assert_same_as_deployed(model, rewrite_model(model).model, tmp_path)
    made = rewrite_model(model).model
    x = images(model)
    np.testing.assert_array_equal(
        deployed(model, "none").run(["y"], {"x": x})[0], deployed(made, "none").run(["y"], {"x": x})[0]
    )


def test_weights_behind_a_pair_are_made_of_the_integers(tmp_path: Path) -> None:
    model = quantized(np.uint8)
    made = rewrite_model(model).model
    count = len(model.graph.node)
    assert not [node for node in made.graph.node[count:] if node.op_type == "DequantizeLinear" and "i_w3" in node.input]
    assert not reads_of_the_vendors(model, made) & {"w3"}
    for mode in MODES:
        deployed(made, mode=mode)
    assert_same_as_deployed(model, made, tmp_path)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_a_pair_is_recomputed_as_a_rounded_float_to_the_last_bit(kind: type) -> None:
    """Pairs of our own beside the vendor's made OpenVINO take the range off a Gemm of the vendor's."""
    model = quantized(kind)
    made = rewrite_model(model).model
    count = len(model.graph.node)
    new = made.graph.node[count:]
    assert not [node for node in new if "QuantizeLinear" in node.op_type]
    # The pooled pairs are p1 and f1: both round the mean over the map. Of the new values, each rounded one is theirs.
    rounds = {node.output[0] for node in new if node.op_type == "Round"}
    readers = {name: node for node in new for name in node.input}
    rounded = []
    for name in rounds:
        while readers[name].op_type in ("Round", "Max", "Min"):
            name = readers[name].output[0]
        rounded.append(readers[name].output[0])
    assert rounded
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in [*rounded, "p1", "f1", "y"])
    x = images(model)
    for values in (x, 50 * x):
        *own, p1, f1, y = deployed(made, "none").run([*rounded, "p1", "f1", "y"], {"x": values})
        for value in own:
            theirs = p1 if value.shape == p1.shape else f1 if value.shape == f1.shape else y
            np.testing.assert_array_equal(value, theirs)


def test_scales_of_rows_and_a_transposed_weight_are_made_of_the_integers() -> None:
    """A weight for each row, transposed behind its pair, as an exporter with MatMul leaves it."""
    body = """p = GlobalAveragePool(x)
f = Flatten(p)
d = DequantizeLinear<axis=0>(i, s, z)
t = Transpose<perm=[1, 0]>(d)
y = MatMul(f, t)"""
    integers = np.arange(-15, 15, dtype=np.int8).reshape(5, 6)
    scales, zeros = np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32), np.array([0, 1, -1, 2, 0], np.int8)
    model = text_model(body, init={"i": integers, "s": scales, "z": zeros})
    found = lift(model, images(model))
    real = (integers.astype(np.float64) - zeros[:, None]) * scales[:, None].astype(np.float64)
    cells = np.einsum("kc,nchw->nkhw", real, found.x.astype(np.float64))
    np.testing.assert_allclose(found.grid, cells, rtol=1e-4, atol=1e-4)
    assert reads_of_the_vendors(model, found.rewrite.model) <= {"x", "y"}


def test_an_initializer_is_not_copied() -> None:
    model = vendor("silu")
    made = rewrite_model(model).model
    new = made.graph.initializer[len(model.graph.initializer) :]
    assert sum(numpy_helper.to_array(tensor).size for tensor in new) < 60
