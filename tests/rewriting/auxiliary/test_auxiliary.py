"""A finer output: which maps it may read, and its numbers against plain NumPy on the file's own tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onnx_gapmil import inspect
from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.lift.heads import LiftedHead
from onnx_gapmil.rewriting.analysis import Analysis
from onnx_gapmil.rewriting.auxiliary import proving
from onnx_gapmil.rewriting.auxiliary.building import AuxiliaryGraph, AuxiliaryLayer, add_finer_output
from onnx_gapmil.rewriting.auxiliary.maps import auxiliary_maps
from onnx_gapmil.rewriting.auxiliary.proving import prove_auxiliary
from onnx_gapmil.rewriting.proof.report import ProofError
from onnx_gapmil.rewriting.repooling import head_to_fit
from onnx_gapmil.rewriting.resized import at_size
from tests.helpers.support import text_model, weights

SAMPLES = Path(__file__).resolve().parents[3] / "sample_models"
RNG = np.random.default_rng(2)
MIDDLE, EARLY = "/features/features.11/Relu_output_0", "/features/features.5/Relu_output_0"


def prepared(name: str) -> tuple[Analysis, LiftedHead]:
    model = load_model(SAMPLES / f"{name}.onnx")
    output = model.proto.graph.output[0].name
    return head_to_fit(model, output)


def layers_of(analysis: Analysis, head: LiftedHead, *names: str) -> list[AuxiliaryLayer]:
    found = []
    for entry in auxiliary_maps(analysis, head, names):
        weight = RNG.normal(size=(head.scores.channels, entry.channels)).astype(np.float32) / entry.channels
        found.append(AuxiliaryLayer(entry, weight, RNG.normal(size=head.scores.channels).astype(np.float32)))
    return found


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("digits_torch_legacy", [(48, 48), (24, 24)]),
        ("digits_keras", [(48, 48), (24, 24)]),
        ("digits_jax", [(48, 48), (24, 24)]),
        ("digits_torch_flex_channel", [(48, 48), (24, 24)]),
    ],
)
def test_the_last_map_of_each_finer_resolution_is_found(name: str, sizes: list[tuple[int, int]]) -> None:
    analysis, head = prepared(name)
    found = auxiliary_maps(analysis, head, ())
    assert [entry.size for entry in found] == sizes
    order = {made: place for place, node in enumerate(analysis.graph.proto.graph.node) for made in node.output}
    for entry in found:
        shape = analysis.trace.shapes[entry.tensor]
        assert [shape[axis] for axis in entry.axes] == [shape[entry.axes[0]], entry.channels, *entry.size]
        later = [made for made, place in order.items() if place > order[entry.tensor]]
        same = [made for made in later if sorted(analysis.trace.shapes.get(made, ())) == sorted(shape)]
        assert not same, "a later map has its size"


BAD = {
    "nowhere": "the graph has no tensor 'nowhere' that depends on the image; finer maps are: ",
    "/features/features.17/Relu_output_0": "has 12 x 12 cells, and the head's own grid 12 x 12: name an earlier, finer",
    "logits": "has the shape [2, 10], and is no map of rows, columns and channels",
    "classifier.weight": "the graph has no tensor 'classifier.weight' that depends on the image",
    "image": "is no map of rows, columns and channels",
}


@pytest.mark.parametrize("tensor", BAD)
def test_a_tensor_that_will_not_do_is_refused_in_a_sentence(tensor: str) -> None:
    analysis, head = prepared("digits_torch_legacy")
    with pytest.raises(InputError) as caught:
        auxiliary_maps(analysis, head, (tensor,))
    assert BAD[tensor] in str(caught.value)


def test_a_map_without_places_is_refused() -> None:
    """A layer over positions mixed them before it."""
    body = (
        "c = Conv<strides=[2,2]>(x, k)  t = Reshape(c, flat)  d = MatMul(t, mix)  u = Reshape(d, square)  "
        "m = Conv(u, k1)  r = Conv<strides=[2,2]>(c, k2)  a = ReduceMean<axes=[1,2,3], keepdims=1>(m)  "
        "g = Add(r, a)  p = GlobalAveragePool(g)  e = Flatten(p)  y = Gemm<transB=1>(e, w)"
    )
    arrays = {
        "k": weights(4, 3, 2, 2),
        "k1": weights(4, 4, 1, 1),
        "k2": weights(6, 4, 2, 2),
        "w": weights(5, 6),
        "mix": weights(64, 64),
        "flat": np.array([0, 4, 64]),
        "square": np.array([0, 4, 8, 8]),
    }
    analysis, head = head_to_fit(load_model(text_model(body, x="float[N,3,16,16] x", init=arrays)), "y")
    with pytest.raises(InputError, match="tensor 'm' cannot refine the head's grid: where its cells look is not known"):
        auxiliary_maps(analysis, head, ("m",))
    assert [entry.tensor for entry in auxiliary_maps(analysis, head, ())] == ["c"]


def test_no_finer_map_is_said() -> None:
    model = text_model(
        "m = Conv(x, k)  p = GlobalAveragePool(m)  e = Flatten(p)  y = Gemm<transB=1>(e, w)",
        x="float[N,3,8,8] x",
        init={"k": weights(4, 3, 1, 1), "w": weights(5, 4)},
    )
    analysis, head = head_to_fit(load_model(model), "y")
    with pytest.raises(InputError, match="no map before its head is finer than its grid of 8 x 8 cells"):
        auxiliary_maps(analysis, head, ())


def run(model: onnx.ModelProto, names: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    known = {value.name for value in whole.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: images}), strict=True))


def by_hand(
    found: dict[str, np.ndarray], made: AuxiliaryGraph, layers: list[AuxiliaryLayer], head: LiftedHead, *, scores: bool
) -> np.ndarray:
    """The finer grid (N, 10, H, W) in NumPy, of the run's tensors; each axis has its own first place."""
    sizes = found[layers[0].map.tensor].shape
    beside = np.zeros((len(found["logits"]), 10, *sizes[2:]))
    lines = {"rows": 2, "columns": 3}
    for layer in layers:
        answers = np.einsum("kc,nchw->nkhw", layer.weight, found[layer.map.tensor]) + layer.offset[:, None, None]
        for name, axis in lines.items():
            answers = _read(answers, axis, getattr(layer.map, name), getattr(layers[0].map, name), sizes[axis])
        beside = beside + answers
    grid = found[made.grid].astype(np.float64)
    for name, axis in lines.items():
        grid = _read(grid, axis, getattr(head.places, name), getattr(layers[0].map, name), sizes[axis])
    total = grid + beside
    total += (found["logits"] - total.mean(axis=(2, 3)))[:, :, None, None]
    return total + beside.mean(axis=(2, 3), keepdims=True) if scores else total


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("names", [(MIDDLE,), (MIDDLE, EARLY)], ids=["one map", "two maps"])
def test_its_grid_and_its_scores_are_the_formula_in_numpy(names: tuple[str, ...], scores: bool) -> None:
    analysis, head = prepared("digits_torch_legacy")
    layers = layers_of(analysis, head, *names)
    made = add_finer_output(analysis, head, layers, scores=scores)
    proof = prove_auxiliary(analysis.source, made, layers, scores=scores)
    images = RNG.normal(size=(3, 3, 96, 96)).astype(np.float32)
    found = run(made.model, ["logits", made.output, made.grid, *names], images)
    size = layers[0].map.size[0]
    total = by_hand(found, made, layers, head, scores=scores)
    np.testing.assert_allclose(found[made.output], total.mean(axis=(2, 3)), atol=2e-5)
    if not scores:
        np.testing.assert_allclose(found[made.output], found["logits"], atol=2e-5)
    assert proof.residual < 2e-6
    assert proof.head.grid_shape[2:] == (size, size)
    assert (proof.head.places.rows, proof.head.places.columns) == (layers[0].map.rows, layers[0].map.columns)
    assert proof.head.verdict == "exact"
    assert proof.head.places.known


def test_it_is_opened_for_another_size_than_the_one_that_its_model_fixes() -> None:
    """What the kernels make of ones was a constant of one value a cell, which nothing opens."""
    analysis, head = prepared("digits_torch_legacy")
    layers = layers_of(analysis, head, MIDDLE, EARLY)
    made = add_finer_output(analysis, head, layers, scores=True)
    opened = at_size(load_model(made.model), (128, 160)).proto
    images = RNG.normal(size=(2, 3, 128, 160)).astype(np.float32)
    found = run(opened, ["logits", made.output, made.grid, MIDDLE, EARLY], images)
    rows, columns = (found[EARLY].shape[axis] for axis in (2, 3))
    assert (rows, columns) == (64, 80)
    expected = by_hand(found, made, layers, head, scores=True)
    assert expected.shape == (2, 10, rows, columns)
    np.testing.assert_allclose(found[made.output], expected.mean(axis=(2, 3)), atol=2e-5)


def _read(maps: np.ndarray, axis: int, coarse: object, fine: object, finer: int) -> np.ndarray:
    at = [coarse.first + place * coarse.step for place in range(maps.shape[axis])]  # type: ignore[attr-defined]
    to = [fine.first + place * fine.step for place in range(finer)]  # type: ignore[attr-defined]
    return np.apply_along_axis(lambda line: np.interp(to, at, line), axis, maps)


@pytest.mark.parametrize("name", ["digits_keras", "digits_jax", "digits_torch_flex_channel", "digits_torch_dynamo"])
def test_what_is_written_lifts_again_by_itself(name: str) -> None:
    analysis, head = prepared(name)
    layers = layers_of(analysis, head)[-1:]
    made = add_finer_output(analysis, head, layers, scores=False)
    proof = prove_auxiliary(analysis.source, made, layers, scores=False)
    assert proof.grid.passed
    found = {entry.output: entry for entry in inspect(made.model).heads}
    assert made.output in found
    assert found[made.output].scores.size == layers[0].map.size
    places = found[made.output].places
    assert (places.rows, places.columns) == (layers[0].map.rows, layers[0].map.columns)
    assert not [entry for entry in made.model.metadata_props if entry.key.startswith("gapmil")]


def broken(made: AuxiliaryGraph, change: str) -> AuxiliaryGraph:
    proto = onnx.ModelProto()
    proto.CopyFrom(made.model)
    for node in proto.graph.node:
        if change == "vendor" and node.op_type == "Gemm":
            next(entry for entry in node.attribute if entry.name == "alpha").f = 1.5
        if change == "finer" and node.op_type == "Sub" and node.name.startswith("gapmil"):
            node.op_type = "Add"
    return AuxiliaryGraph(proto, made.output, made.head, made.grid, made.maps, made.logits, made.analysis)


@pytest.mark.parametrize(("change", "said"), [("vendor", "output 'logits' changed"), ("finer", "differ from NumPy's")])
def test_a_wrong_file_is_not_proved(change: str, said: str) -> None:
    analysis, head = prepared("digits_torch_legacy")
    layers = layers_of(analysis, head, MIDDLE)
    made = broken(add_finer_output(analysis, head, layers, scores=False), change)
    with pytest.raises(ProofError, match=said):
        prove_auxiliary(analysis.source, made, layers, scores=False)


def test_a_grid_that_is_turned_is_not_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's side made to agree with columns that are turned over: the stripes of the image tell."""
    analysis, head = prepared("digits_torch_legacy")
    layers = layers_of(analysis, head, MIDDLE)
    made = add_finer_output(analysis, head, layers, scores=False)
    monkeypatch.setattr(proving, "_compared", lambda *_, **__: 0.0)
    proto = made.model
    node = next(node for node in proto.graph.node if node.op_type == "ConvTranspose")
    for name, values in (("from", [-1]), ("to", [-(1 << 31)]), ("axis", [3]), ("by", [-1])):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values), f"turn_{name}"))
    place = list(proto.graph.node).index(node)
    turned = onnx.helper.make_node(
        "Slice", ["turn_in", "turn_from", "turn_to", "turn_axis", "turn_by"], [node.output[0]]
    )
    node.output[0] = "turn_in"
    proto.graph.node.insert(place + 1, turned)
    with pytest.raises(Exception, match=r"different-views|not confirmed|failed its proof"):
        prove_auxiliary(analysis.source, made, layers, scores=False)


@pytest.mark.shared
@pytest.mark.parametrize(
    "file",
    [
        "post/keras__custom_gap_keepdims_conv1x1_flatten.tf2onnx.qoperator.onnx",  # its maps are integers
        "post/torch__gap_view_linear.legacy-op11-dynb.qoperator.onnx",
    ],
)
def test_maps_of_integers_are_none(file: str, shared: Path) -> None:
    model = load_model(shared / "zoo" / file)
    analysis, head = head_to_fit(model, model.proto.graph.output[0].name)
    with pytest.raises(InputError, match="no map before its head is finer"):
        auxiliary_maps(analysis, head, ())


@pytest.mark.shared
@pytest.mark.parametrize(
    "file",
    [
        "jax/linen_resnet.dynb.onnx",
        "keras/custom_gap_rescale_dense_nobias.tf2onnx.onnx",  # 31 cells over 15
        "post/jax__linen_resnet.static.fp16-keepio.onnx",
        "torch/gap_conv1x1_squeeze_softmax.dynamo-dynb.onnx",
        "torch/fc_conv8x8.legacy-op11-dynb.onnx",
        "torch/token_mean_ln_before.dynamo.onnx",
    ],
)
def test_models_of_others_get_a_finer_grid_that_is_proved(file: str, shared: Path) -> None:
    model = load_model(shared / "zoo" / file)
    analysis, head = head_to_fit(model, model.proto.graph.output[0].name)
    layers = layers_of(analysis, head)
    proof = prove_auxiliary(analysis.source, add_finer_output(analysis, head, layers, scores=True), layers, scores=True)
    assert proof.grid.passed
    assert proof.head.grid_shape[2:] == layers[0].map.size
    assert (proof.head.places.rows, proof.head.places.columns) == (layers[0].map.rows, layers[0].map.columns)
    assert proof.head.activation == head.logits.activation
