"""Class tokens against a decomposition in float64 NumPy, in the spellings of exporters."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from onnx_gapmil.errors import InputError
from onnx_gapmil.lift.tokens.modes import AUTO, ClassTokenMode, ClassTokenWish
from onnx_gapmil.lift.verdict import ADVICE, UnsupportedHeadError
from onnx_gapmil.ort.deployed import PRECISE
from onnx_gapmil.rewriting.analysis import analyse
from onnx_gapmil.rewriting.attachment.rungs import RUNGS, Attachment
from onnx_gapmil.rewriting.proof.report import ProofError
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import text_model
from tests.references.class_token_vit import Vit

DIRECT: ClassTokenMode = "direct"
AUTO_WORD: ClassTokenWish = "auto"
WRONG = "rollout"
SPELLINGS: dict[str, dict[str, Any]] = {
    "split": {},
    "gather": {"qkv": "gather"},
    "slice": {"qkv": "slice", "takes": "slice"},
    "separate": {"qkv": "separate", "takes": "split"},
    "folded": {"qkv": "folded"},
    "GELU by tanh": {"gelu": "tanh"},
    "GELU as operator": {"gelu": "operator"},
    "LayerScale": {"scale_first": True},
    "norms behind": {"post_norm": True},
    "norms by pools": {"norm_by_pools": True, "gelu": "tanh"},
    "as many channels as patches": {"rows": 2, "columns": 4, "heads": 4},
    "a head that also pools": {"pools": True},
    "a head that also pools, registers": {"pools": True, "registers": 2, "takes": "slice"},
    "masks": {"masked": True},
    "registers": {"registers": 4},
    "tokens first": {"tokens_first": True},
    "tokens first, slices": {"tokens_first": True, "qkv": "slice", "takes": "split"},
    "one image": {"batch": 1},
    "three images": {"batch": 3, "qkv": "gather"},
    "ONNX Runtime's Attention": {"qkv": "Attention", "masked": True},
    "ONNX Runtime's MultiHeadAttention": {"qkv": "MultiHeadAttention", "masked": True},
    "ONNX's own Attention": {"qkv": "standard"},
    "ONNX's own Attention with a mask": {"qkv": "standard", "masked": True},
    "deep": {"layers": 30, "width": 4, "heads": 1},
    "all at once": {"masked": True, "scale_first": True, "registers": 2, "gelu": "tanh", "qkv": "separate"},
}


def images(vit: Vit, count: int = 3) -> np.ndarray:
    shape = (vit.batch or count, 3, 4 * vit.rows, 4 * vit.columns)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float16 if vit.half else np.float32)


def run(found: Rewrite, data: np.ndarray, *names: str, optimize: bool = False) -> list[np.ndarray]:
    """Outputs of a rewritten model; of integers found at run time by kernels that saturate on no processor."""
    settings = onnxruntime.SessionOptions()
    if not optimize and any(node.op_type == "MatMulInteger" for node in found.model.graph.node):
        settings.add_session_config_entry(*next(iter(PRECISE.items())))
        optimize = True
    if not optimize:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(found.model.SerializeToString(), settings)
    return [np.asarray(array, np.float64) for array in session.run(list(names), {"x": data})]


def answers(vit: Vit, mode: str) -> tuple[list[np.ndarray], tuple[np.ndarray, ...]]:
    """Logits, grid and placeless part by the rewritten graph, and by NumPy."""
    data = images(vit)
    found = rewrite_model(vit.model(), class_token=mode)  # type: ignore[arg-type]
    head = found.heads[0]
    assert head.grid is not None
    assert head.placeless is not None
    return run(found, data, head.logits, head.grid, head.placeless), vit.run(data, mode)


@pytest.mark.parametrize("mode", ["direct", "through"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_grid_is_the_decomposition(spelling: str, mode: str) -> None:
    vit = Vit(**SPELLINGS[spelling])
    got, expected = answers(vit, mode)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() <= 3e-5 * np.abs(theirs).max()


QUANTIZED: dict[str, dict[str, Any]] = {
    "uint8": {"integers": "uint8", "batch": 1},
    "int8": {"integers": "int8", "qkv": "gather", "scale_first": True, "gelu": "operator", "batch": 1},
    "int8, slices": {"integers": "int8", "qkv": "slice", "registers": 2, "takes": "slice"},
    "by ranges": {"integers": "dynamic", "batch": 1},
    "by ranges, fused operators": {"integers": "dynamic", "batch": 1, "qkv": "gather", "gelu": "operator"},
}


@pytest.mark.parametrize("mode", ["direct", "through"])
@pytest.mark.parametrize("spelling", QUANTIZED)
def test_a_quantized_trunk_is_decomposed_with_what_it_rounds(spelling: str, mode: str) -> None:
    vit = Vit(**QUANTIZED[spelling])
    got, expected = answers(vit, mode)
    assert vit.margin > 5e-5  # of a step: no number is rounded the other way in float32
    for mine, theirs in zip(got, expected, strict=True):
        assert np.abs(mine - theirs).max() <= 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("kind", ["uint8", "dynamic"])
def test_a_head_of_floats_on_a_quantized_trunk_is_up_to_rounding(kind: str) -> None:
    """The last bit decides which way some numbers of a row are rounded, whatever the head computes in."""
    model = Vit(integers=kind, layers=1, batch=1).model()
    head = rewrite_model(model, class_token=DIRECT).heads[0]
    assert head.quantized
    assert head.rounding_bound is None
    assert all(step.op == "Gather" or step.op == "Gemm" for step in head.chain)


def _first(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    return next(node for node in reversed(model.graph.node) if node.op_type == op)


def test_a_scale_for_each_channel_of_the_tokens_is_refused_by_name() -> None:
    model = Vit(integers="uint8").model()
    pair = [_first(model, "QuantizeLinear"), _first(model, "DequantizeLinear")]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(8, 0.1, np.float32), "scales"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(8, 120, np.uint8), "zeros"))
    for node in pair:
        node.input[1:] = ["scales", "zeros"]
        node.attribute.append(onnx.helper.make_attribute("axis", -1))
    said = refused(model)
    assert pair[0].name in said
    assert "its scale is not one fixed number for all tokens and channels" in said


def test_integers_that_are_read_by_another_scale_are_refused_by_name() -> None:
    model = Vit(integers="int8").model()
    node = _first(model, "DequantizeLinear")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.1), "other"))
    node.input[1] = "other"
    said = refused(model)
    assert node.name in said
    assert "not the one that its integers were made with" in said


def test_a_trunk_that_is_quantized_without_zero_points() -> None:
    model = Vit(integers="int8", batch=1, layers=1).model()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            del node.input[2]
    found = rewrite_model(model, class_token=DIRECT)
    assert found.heads[0].grid is not None
    logits, grid = run(found, images(Vit(batch=1)), found.heads[0].logits, found.heads[0].grid)
    assert np.abs(grid.mean(axis=(2, 3)) - logits).max() <= 1e-5 * np.abs(grid).max()


def test_tokens_in_windows_keep_what_has_no_place() -> None:
    """Patches taken window by window: the cells are put back, and what no place brings is what it is in any order."""
    vit = Vit(rows=4, columns=4)
    model, data = vit.model(), images(vit)
    flat = next(node for node in model.graph.node if node.op_type == "Reshape")
    place = list(model.graph.node).index(flat)
    sizes = onnx.numpy_helper.from_array(np.array([0, vit.width, 2, 2, 2, 2]), "windows")
    model.graph.initializer.append(sizes)
    cut = onnx.helper.make_node("Reshape", [flat.input[0], "windows"], ["cut"])
    turned = onnx.helper.make_node("Transpose", ["cut"], ["turned"], perm=[0, 1, 2, 4, 3, 5])
    model.graph.node.insert(place, cut)
    model.graph.node.insert(place + 1, turned)
    flat.input[0] = "turned"
    head = (found := rewrite_model(model, class_token=DIRECT)).heads[0]
    assert head.grid is not None
    assert head.placeless is not None
    logits, grid, apart = run(found, data, head.logits, head.grid, head.placeless)
    # The same network on the photo whose patches lie in the order in which the windows are read.
    patches = data.reshape(-1, 3, 2, 2, 4, 2, 2, 4).transpose(0, 1, 2, 5, 3, 6, 4, 7)  # n c, windows, within, pixels
    expected = vit.run(patches.reshape(-1, 3, 4, 4, 4, 4).transpose(0, 1, 2, 4, 3, 5).reshape(data.shape))
    cells = expected[1].reshape(-1, vit.classes, 2, 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(grid.shape)
    for mine, theirs in ((logits, expected[0]), (grid, cells), (apart, expected[2])):
        assert np.abs(mine - theirs).max() <= 3e-5 * np.abs(theirs).max()


def test_the_reference_adds_up_and_tells_the_modes_apart() -> None:
    vit = Vit()
    logits, direct, apart = vit.run(images(vit), "direct")
    _, through, less = vit.run(images(vit), "through")
    for grid in (direct, through):
        assert np.allclose(grid.mean(axis=(2, 3)), logits, rtol=0, atol=1e-12)
    assert np.abs(direct - through).max() > 0.1
    assert not np.allclose(apart, less)


def test_half_precision_adds_up() -> None:
    (logits, grid, apart), (exact, cells, rest) = answers(Vit(half=True), "direct")
    for mine, theirs in ((logits, exact), (grid, cells), (apart, rest)):
        assert np.abs(mine - theirs).max() <= 2e-2 * np.abs(theirs).max()
    assert np.abs(grid.mean(axis=(2, 3)) - logits).max() <= 5e-3 * np.abs(grid).max()


@pytest.mark.parametrize("emit", ["topk:2", "classes:3,1"])
def test_some_classes_are_the_rows_of_the_whole_grid(emit: str) -> None:
    vit, data = Vit(), images(Vit())
    _, grid, _ = vit.run(data)
    found = rewrite_model(vit.model(), class_token=DIRECT, emit=emit)
    head = found.heads[0]
    if head.topk is not None:
        classes, rows = run(found, data, head.topk.classes, head.topk.grid)
        chosen = classes.astype(int)
    else:
        assert head.classes is not None
        (rows,) = run(found, data, head.classes.grid)
        chosen = np.broadcast_to([3, 1], (len(data), 2))
    wanted = np.stack([cells[picks] for cells, picks in zip(grid, chosen, strict=True)])
    assert np.abs(rows - wanted).max() <= 3e-5 * np.abs(grid).max()


def test_the_vendors_outputs_stay_bit_equal_as_deployed() -> None:
    quantized = [Vit(integers=kind, layers=1) for kind in ("uint8", "int8", "dynamic")]
    for vit in (Vit(), Vit(half=True), Vit(qkv="slice", gelu="tanh"), *quantized):
        model, data = vit.model(), images(vit)
        found = rewrite_model(model, class_token=DIRECT)
        (after,) = run(found, data, "y", optimize=True)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        assert np.array_equal(after, np.asarray(session.run(None, {"x": data})[0], np.float64))


def test_nothing_new_reads_a_score_of_all_pairs_or_a_vendors_transpose() -> None:
    model = Vit(masked=True).model()
    found = rewrite_model(model, class_token=DIRECT).model
    vendors = {name: node for node in model.graph.node for name in node.output}
    own = found.graph.node[len(model.graph.node) :]
    read = {vendors[name].op_type for node in own for name in node.input if name in vendors}
    assert not read & {"Softmax", "Transpose", "LayerNormalization", "Erf"}


def _read_by_new_nodes(model: onnx.ModelProto, rung: Attachment) -> set[str]:
    made = rewrite_model(model, class_token=DIRECT, attachment=rung).model
    return {name for node in made.graph.node[len(model.graph.node) :] for name in node.input}


@pytest.mark.parametrize("mode", ["direct", "through"])
@pytest.mark.parametrize("spelling", [{}, {"tokens_first": True, "scale_first": True}, {"qkv": "folded"}])
def test_rows_read_from_the_trunk_and_rows_made_anew_are_the_same(
    mode: ClassTokenMode, spelling: dict[str, Any]
) -> None:
    vit = Vit(**spelling)
    data = images(vit)
    _, grid, apart = vit.run(data, mode)
    for rung in RUNGS[:2]:
        found = rewrite_model(vit.model(), class_token=mode, attachment=rung)
        head = found.heads[0]
        assert head.grid is not None
        assert head.placeless is not None
        made = run(found, data, head.grid, head.placeless)
        for mine, theirs in zip(made, (grid, apart), strict=True):
            assert np.abs(mine - theirs).max() <= 3e-5 * np.abs(theirs).max()


def test_the_lowest_rung_reads_sums_of_branches_and_no_weights_of_the_mlps() -> None:
    model = Vit().model()
    made = {name: node for node in model.graph.node for name in node.output}
    weights = {tensor.name for tensor in model.graph.initializer}

    def branches(names: set[str]) -> list[int]:
        """Of the sums of two that depend on the image, how many readers each has."""
        sums = [name for name in names & made.keys() if made[name].op_type == "Add"]
        return [
            sum(name in node.input for node in model.graph.node) for name in sums if not weights & set(made[name].input)
        ]

    plain, named = (_read_by_new_nodes(model, rung) for rung in RUNGS[:2])
    assert branches(plain) == [2, 2, 2]  # the last of four has one reader, and may be fused with it
    assert {f"{layer}{block}" for layer in ("qkv", "up", "down") for block in (0, 1)}.isdisjoint(plain)
    assert branches(named) == []
    assert {"up0", "down0", "out0"} <= named


def test_of_a_fixed_batch_no_product_is_read_that_the_runtime_makes_a_gemm_of() -> None:
    for batch, expected in ((None, {"down1"}), (2, set[str]())):
        model = Vit(batch=batch).model()
        factors = {node.output[0]: node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
        read = {factors[name] for name in _read_by_new_nodes(model, "plain") & factors.keys()}
        assert read == expected


def test_a_transpose_of_a_row_stands_behind_one_fence() -> None:
    model = Vit().model()
    nodes = rewrite_model(model, class_token=DIRECT).model.graph.node[len(model.graph.node) :]
    made = {name: node for node in nodes for name in node.output}
    vendors = {name for node in model.graph.node for name in node.output}

    def fences(name: str) -> set[int]:
        """How many Flattens stand on the ways from the vendor's tensors to one."""
        if name not in made:
            return {0} if name in vendors else set()
        return {
            count + (made[name].op_type == "Flatten")
            for read in made[name].input
            for count in fences(read)
            if read not in made or made[read].op_type != "Shape"
        }

    found = [fences(node.output[0]) for node in nodes if node.op_type == "Transpose"]
    assert {frozenset(each) for each in found if each} == {frozenset({1})}


def test_no_new_tensor_has_a_number_for_each_pair_of_tokens() -> None:
    vit = Vit(rows=5, columns=6)
    found = rewrite_model(vit.model(), class_token=DIRECT).model
    known = onnx.shape_inference.infer_shapes(found, data_prop=True)
    own = {name for node in found.graph.node[len(vit.model().graph.node) :] for name in node.output}
    for value in known.graph.value_info:
        if value.name in own:
            dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            assert dims.count(vit.tokens) < 2


def test_without_the_option_it_is_refused_with_a_hint() -> None:
    with pytest.raises(UnsupportedHeadError) as caught:
        rewrite_model(Vit().model())
    refusal = caught.value.refusal
    assert refusal.code == "class-token"
    assert refusal.message.endswith("it takes one of 7 tokens (the class token) and drops the others")
    hint = (
        " --class-token auto lifts many of these all the same, by what each attention brought the token from each "
        "patch."
    )
    assert refusal.advice == ADVICE["class-token"]
    assert refusal.advice.removesuffix(hint) == (
        "The classifier reads one token, which attention has already mixed: no average over cells gives its logits. "
        "Ask the vendor for a variant that pools by average, or use attention rollout on the source model."
    )


def test_record_says_what_it_is() -> None:
    record = rewrite_model(Vit().model(), class_token=AUTO_WORD).heads[0]
    assert record.verdict == "conditional"
    said = record.to_json()
    assert said["class_token"] is True
    assert said["class_token_lift"] == AUTO
    assert said["placeless"] == "gapmil_placeless"
    assert record.places.known
    assert record.places.rows is not None
    assert (record.places.rows.first, record.places.rows.step) == (2, 4)


@pytest.mark.parametrize("mode", ["direct", "through"])
def test_a_rewritten_file_is_lifted_again_as_it_says(mode: ClassTokenMode) -> None:
    found = rewrite_model(Vit().model(), class_token=mode)
    again = rewrite_model(found.model)
    assert again.unchanged
    assert again.heads == found.heads
    assert again.heads[0].class_token == mode


def test_a_record_that_says_the_other_mode_does_not_hold() -> None:
    found = rewrite_model(Vit().model(), class_token=DIRECT)
    for entry in found.model.metadata_props:
        entry.value = entry.value.replace('"class_token_lift":"direct"', '"class_token_lift":"through"').replace(
            '"class_token_lift": "direct"', '"class_token_lift": "through"'
        )
    with pytest.raises(ProofError):
        rewrite_model(found.model)


def test_a_head_without_class_token_is_lifted_as_ever() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)  f = Flatten<axis=1>(p)  y = Gemm(f, w)", init={"w": np.ones((6, 5), "f")}
    )
    plain, asked = (rewrite_model(model, class_token=mode) for mode in (None, "through"))
    assert plain.model.SerializeToString() == asked.model.SerializeToString()
    assert asked.heads[0].to_json()["class_token"] is None


def test_instance_readout_and_unknown_words_are_no_lift() -> None:
    with pytest.raises(InputError, match="contribution alone"):
        rewrite_model(Vit().model(), class_token=DIRECT, readout="instance")
    with pytest.raises(InputError, match="none of auto, direct, through"):
        rewrite_model(Vit().model(), class_token=WRONG)  # type: ignore[arg-type]


def _edited(model: onnx.ModelProto, op: str, count: int, **new: Any) -> onnx.ModelProto:
    """A model with one node of an operator, the count-th, given other inputs."""
    node = [entry for entry in model.graph.node if entry.op_type == op][count]
    for place, name in new["inputs"].items():
        node.input[int(place)] = name
    return model


def refused(model: onnx.ModelProto) -> str:
    search = analyse(model, class_token=DIRECT).search
    assert not search.heads
    (refusal,) = search.refusals.values()
    assert "--class-token auto" not in refusal.advice  # it was asked for
    return refusal.message


def test_dropped_patches_are_refused_by_name() -> None:
    vit = Vit()
    model = vit.model()
    # The last patch is dropped behind the first block, as token pruning does: 5 patches are no rectangle of 2 x 3.
    block = next(node for node in model.graph.node if node.op_type == "LayerNormalization" and "gain_a1" in node.input)
    source = block.input[0]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(6), "kept"))
    position = list(model.graph.node).index(block)
    model.graph.node.insert(position, onnx.helper.make_node("Gather", [source, "kept"], ["fewer"], axis=1))
    for node in list(model.graph.node)[position + 1 :]:
        for place, name in enumerate(node.input):
            if name == source:
                node.input[place] = "fewer"
    said = refused(model)
    assert "6 tokens" in said
    assert "no rows and columns of patches" in said


@pytest.mark.parametrize("mode", ["direct", "through"])
def test_a_patch_that_is_masked_brings_nothing(mode: ClassTokenMode) -> None:
    vit = Vit(masked=True)
    for layer in range(vit.layers):
        vit.weights[f"mask{layer}"][:, :, 1 + 4] = -1e4
    (_, grid, apart), (_, expected, _) = answers(vit, mode)
    assert np.abs(grid - expected).max() <= 3e-5 * np.abs(expected).max()
    assert np.abs(grid[:, :, 1, 1] - apart).max() <= 1e-5 * np.abs(grid).max()  # the fifth of 2 x 3
    assert np.abs(grid[:, :, 0, 0] - apart).max() > 0.01 * np.abs(grid).max()


def test_what_meets_nothing_but_nonlinear_layers_is_refused_by_direct_alone() -> None:
    model = Vit().model()
    (norm,) = (node for node in model.graph.node if node.op_type == "LayerNormalization" and "gain" in node.input)
    (take,) = (node for node in model.graph.node if norm.output[0] in node.input)
    model.graph.node.insert(list(model.graph.node).index(take), onnx.helper.make_node("Tanh", norm.output, ["bent"]))
    take.input[0] = "bent"
    said = refused(model)
    assert take.name in said
    assert "'direct' stops; 'through' passes them" in said
    assert analyse(model, class_token="through").search.heads  # noqa: S106 - a mode


def test_registers_amid_the_patches_are_refused_by_name() -> None:
    model = Vit(registers=2).model()
    join = next(node for node in model.graph.node if node.op_type == "Concat" and node.attribute[0].i == 1)
    start, patches = join.input
    parts = {"own": (start, 0, 1), "first": (patches, 0, 3), "registers": (start, 1, 3), "last": (patches, 3, 6)}
    position = list(model.graph.node).index(join)
    for name, (source, low, high) in parts.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(low, high), f"{name}_at"))
        cut = onnx.helper.make_node("Gather", [source, f"{name}_at"], [name], axis=1)
        model.graph.node.insert(position, cut)
    del join.input[:]
    join.input.extend(parts)
    said = refused(model)
    assert "it attends to 9 tokens" in said
    assert "no rows and columns of patches" in said


def test_a_mask_that_is_an_input_is_refused_by_name() -> None:
    """Which patches count is no function of the image then."""
    model = Vit(masked=True, batch=2).model()
    place = next(at for at, tensor in enumerate(model.graph.initializer) if tensor.name == "mask0")
    shape = list(model.graph.initializer[place].dims)
    del model.graph.initializer[place]
    entry = onnx.helper.make_tensor_value_info("mask0", onnx.TensorProto.FLOAT, shape)
    model.graph.input.append(entry)
    assert "input 'mask0'" in refused(model)


def test_an_operator_that_mixes_tokens_is_named() -> None:
    model = Vit().model()
    block = next(node for node in model.graph.node if node.op_type == "LayerNormalization" and "gain" in node.input)
    position = list(model.graph.node).index(block)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(1), "axis"))
    running = onnx.helper.make_node("CumSum", [block.input[0], "axis"], ["running"], name="running sum")
    model.graph.node.insert(position, running)
    block.input[0] = "running"
    assert "running sum (CumSum)" in refused(model)


def test_an_open_size_is_refused_by_name() -> None:
    model = Vit().model()
    for axis in (2, 3):
        dim = model.graph.input[0].type.tensor_type.shape.dim[axis]
        dim.Clear()
        dim.dim_param = f"s{axis}"
    with pytest.raises(Exception) as caught:  # noqa: PT011 - a trunk of fixed positions runs at one size alone
        rewrite_model(model, class_token=DIRECT)
    assert caught.type.__name__ in ("UnsupportedHeadError", "ModelError")
