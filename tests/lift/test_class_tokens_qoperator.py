"""Class tokens of trunks whose operators work on integers, as ONNX Runtime's static quantization makes them.

The decomposition is written once more here, from the vendor's own integers: what each attention brings, cut where a
range cuts, with what rounding adds apart.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from onnx_gapmil.lift.tokens.modes import ClassTokenMode
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.attachment.rungs import RUNGS
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.lift.test_class_tokens import images, run
from tests.references.class_token_spellings import joined
from tests.references.class_token_vit import Vit

KINDS: dict[str, dict[str, Any]] = {
    "uint8": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8},
    "int8, column by column": {
        "per_channel": True,
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
    },
}
SPELLINGS: dict[str, dict[str, Any]] = {
    "split": {},
    "folded": {"qkv": "folded"},
    "slices and registers": {"qkv": "slice", "gelu": "tanh", "registers": 2, "takes": "slice"},
    "separate, LayerScale": {"qkv": "separate", "scale_first": True},
    "tokens first": {"tokens_first": True},
    "one image": {"batch": 1, "masked": True},
    "a head that also pools": {"pools": True},
}


class _Photos(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, vit: Vit) -> None:
        shape = (vit.batch or 2, 3, 4 * vit.rows, 4 * vit.columns)
        made = (np.random.default_rng(seed).standard_normal(shape) for seed in range(2, 6))
        self._left = iter([{"x": each.astype(np.float32)} for each in made])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def quantized(vit: Vit, folder: Path, floats: onnx.ModelProto | None = None, **options: Any) -> onnx.ModelProto:
    """A network by ONNX Runtime's own quantizer, its operators on integers."""
    before, after = folder / "floats.onnx", folder / "integers.onnx"
    onnx.save(vit.model() if floats is None else floats, before)
    logging.disable(logging.WARNING)
    quantize_static(before, after, _Photos(vit), quant_format=QuantFormat.QOperator, **options)
    logging.disable(logging.NOTSET)
    return onnx.load(after)


class _Integers:
    """The vendor's own tensors, as real numbers in float64."""

    def __init__(self, model: onnx.ModelProto, data: np.ndarray) -> None:
        self._known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.nodes = list(model.graph.node)
        every = onnx.ModelProto()
        every.CopyFrom(model)
        names = [node.output[0] for node in self.nodes if node.output[0] != "y"]
        every.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        session = onnxruntime.InferenceSession(every.SerializeToString(), _plain())
        self._known |= dict(zip(names, session.run(names, {"x": data}), strict=True))

    def of(self, node: onnx.NodeProto, place: int) -> np.ndarray:
        """An operand of an operator on integers, by the scale and the zero point behind it."""
        step, zero = (self._known[node.input[place + more]].astype(np.float64) for more in (1, 2))
        return np.asarray((self._known[node.input[place]].astype(np.float64) - zero) * step)

    def made(self, node: onnx.NodeProto) -> tuple[np.ndarray, float, float]:
        """What an operator makes, and the ends of its range."""
        step, zero = (self._known[name] for name in node.input[6:8])
        limits = np.iinfo(zero.dtype)
        low, high = (float(step) * (end - float(zero)) for end in (limits.min, limits.max))
        return (self._known[node.output[0]].astype(np.float64) - float(zero)) * float(step), low, high

    def limits(self, zero: str) -> tuple[int, int]:
        """The smallest and the largest integer of a zero point's type."""
        kind = np.iinfo(self._known[zero].dtype)
        return int(kind.min), int(kind.max)

    def floats(self, name: str) -> np.ndarray:
        """A tensor of floats."""
        return self._known[name].astype(np.float64)


def _plain() -> onnxruntime.SessionOptions:
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return settings


def direct(vit: Vit, model: onnx.ModelProto, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grid (N, K, rows, columns) of direct effects and what no place brings (N, K); one block, one fused layer.

    Args:
        vit: the network.
        model: the same with operators on integers.
        data: images.
    """
    known = _Integers(model, data)
    by_op = {op: [node for node in known.nodes if node.op_type == op] for op in ("QLinearMatMul", "QLinearAdd")}
    _, _, bring, out, _, _ = by_op["QLinearMatMul"]
    _, _, biased, first, _, _, _, last = by_op["QLinearAdd"]
    (head,) = (node for node in known.nodes if node.op_type == "QGemm")
    norm = next(node for node in reversed(known.nodes) if node.op_type == "LayerNormalization")
    weights, values = known.of(bring, 0)[:, :, 0], known.of(bring, 3)  # (N, G, T) and (N, G, T, D)
    each = (weights[..., None] * values).transpose(0, 2, 1, 3).reshape(len(data), vit.tokens, vit.width)
    cells = vit.rows * vit.columns
    placed, rest = each[:, -cells:], each[:, :-cells].sum(axis=1)

    def rounded(node: onnx.NodeProto, row: Any) -> None:
        """To the vendor's integers: its range cuts all in proportion, the rest is of no place."""
        nonlocal placed, rest
        total = placed.sum(axis=1) + rest
        made, low, high = known.made(node)
        inside = np.clip(total, low, high)
        share = np.where(total == 0, 1, inside / np.where(total == 0, 1, total))
        placed = placed * share[:, None]
        rest = rest * share + row(made) - inside

    def token(array: np.ndarray) -> np.ndarray:
        return array[:, 0]

    rounded(bring, lambda made: token(made.transpose(0, 2, 1, 3).reshape(each.shape)))
    placed, rest = placed @ known.of(out, 3), rest @ known.of(out, 3)
    rounded(out, token)
    rest = rest + known.of(biased, 3)
    rounded(biased, token)
    rest = rest + token(known.of(first, 0))
    rounded(first, token)
    rest = rest + token(known.of(last, 3))  # what the MLP adds
    rounded(last, token)
    gain, shift = (known.floats(name) for name in norm.input[1:3])
    before = token(known.floats(norm.input[0]))
    size = np.sqrt(before.var(axis=1) + 1e-5)
    placed = (placed - placed.mean(axis=2, keepdims=True)) / size[:, None, None] * gain
    rest = (rest - rest.mean(axis=1, keepdims=True)) / size[:, None] * gain + shift
    share = _share(placed.sum(axis=1) + rest, known, head, 1)
    placed, rest = placed * share[:, None], rest * share
    matrix = known.of(head, 3)
    bias = known.floats(head.input[6]) * known.floats(head.input[1]) * known.floats(head.input[4])
    share = _share(known.of(head, 0) @ matrix + bias, known, head, 7)
    apart = (rest @ matrix + bias) * share
    grid = cells * (placed @ matrix) * share[:, None] + apart[:, None]
    return grid.transpose(0, 2, 1).reshape(len(data), vit.classes, vit.rows, vit.columns), apart


def _share(total: np.ndarray, known: _Integers, node: onnx.NodeProto, at: int) -> np.ndarray:
    """How much of each number the range of a head's integers leaves; what they round is no part of the cells."""
    step, zero = (known.floats(name) for name in node.input[at : at + 2])
    limits = known.limits(node.input[at + 1])
    return np.asarray(np.clip(total, step * (limits[0] - zero), step * (limits[1] - zero)) / total)


@pytest.mark.parametrize("kind", KINDS)
def test_the_grid_is_the_decomposition_of_the_vendors_integers(kind: str, tmp_path: Path) -> None:
    vit = Vit(layers=1, heads=2, classes=3)
    model, data = quantized(vit, tmp_path, **KINDS[kind]), images(vit)
    found = rewrite_model(model, class_token="direct")  # noqa: S106 - a mode
    head = found.heads[0]
    assert head.grid is not None
    assert head.placeless is not None
    made = run(found, data, head.grid, head.placeless)
    for mine, theirs in zip(made, direct(vit, model, data), strict=True):
        assert np.abs(mine - theirs).max() <= 2e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_cells_add_up_and_lie_near_those_of_the_floats(spelling: str, kind: str, tmp_path: Path) -> None:
    vit = Vit(**SPELLINGS[spelling])
    model, data = quantized(vit, tmp_path, **KINDS[kind]), images(vit)
    for mode in ("direct", "through"):
        found = rewrite_model(model, class_token=mode)
        head = found.heads[0]
        assert head.grid is not None
        logits, grid = run(found, data, head.logits, head.grid)
        assert head.quantized
        assert np.abs(grid.mean(axis=(2, 3)) - logits).max() <= 0.05 * np.abs(logits).max()
        _, floats, _ = vit.run(data, mode)
        assert np.corrcoef(grid.ravel(), floats.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("mode", ["direct", "through"])
def test_a_token_side_by_side_with_a_mean_in_integers(mode: ClassTokenMode, tmp_path: Path) -> None:
    """DINOv2's head: QLinearConcat of both, each by a scale of its own."""
    vit = Vit(pools=True)
    model, data = quantized(vit, tmp_path, joined(vit), **KINDS["uint8"]), images(vit)
    assert sum(node.op_type == "QLinearConcat" for node in model.graph.node) == 2
    head = (found := rewrite_model(model, class_token=mode)).heads[0]
    assert head.grid is not None
    assert [step.op for step in head.chain].count("com.microsoft::QLinearConcat") == 1
    logits, grid = run(found, data, head.logits, head.grid)
    assert np.abs(grid.mean(axis=(2, 3)) - logits).max() <= 0.05 * np.abs(logits).max()
    assert np.corrcoef(grid.ravel(), vit.run(data, mode)[1].ravel())[0, 1] > 0.97


def test_a_file_that_the_runtime_optimized_hands_integers_of_the_token_to_its_head(tmp_path: Path) -> None:
    """ONNX Runtime makes operators on integers of pairs, and moves the Gather of the token before the last pair."""
    vit, pairs, optimized = Vit(), tmp_path / "pairs.onnx", tmp_path / "optimized.onnx"
    onnx.save(vit.model(), tmp_path / "floats.onnx")
    kind = {**KINDS["uint8"], "quant_format": QuantFormat.QDQ}
    quantize_static(tmp_path / "floats.onnx", pairs, _Photos(vit), **kind)
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    settings.optimized_model_filepath = str(optimized)
    onnxruntime.InferenceSession(pairs, settings)
    model, data = onnx.load(optimized), images(vit)
    (head,) = (node for node in model.graph.node if node.op_type == "QGemm")
    assert next(node.op_type for node in model.graph.node if node.output[0] == head.input[0]) == "Gather"
    found = rewrite_model(model, class_token="direct")  # noqa: S106 - a mode
    assert found.heads[0].grid is not None
    logits, grid = run(found, data, found.heads[0].logits, found.heads[0].grid)
    assert np.abs(grid.mean(axis=(2, 3)) - logits).max() <= 0.05 * np.abs(logits).max()
    assert np.corrcoef(grid.ravel(), vit.run(data)[1].ravel())[0, 1] > 0.97


@pytest.mark.parametrize("mode", ["direct", "through"])
def test_integers_read_from_the_trunk_and_integers_made_anew_are_nearly_the_same(
    mode: ClassTokenMode, tmp_path: Path
) -> None:
    vit = Vit()
    model, data = quantized(vit, tmp_path), images(vit)
    grids = []
    for rung in RUNGS[:2]:
        found = rewrite_model(model, class_token=mode, attachment=rung)
        assert found.heads[0].grid is not None
        grids.append(run(found, data, found.heads[0].grid)[0])
    assert np.abs(grids[0] - grids[1]).max() <= 0.05 * np.abs(grids[0]).max()


def test_integers_of_an_operator_that_are_read_by_another_scale_are_refused_by_name(tmp_path: Path) -> None:
    model = quantized(Vit(), tmp_path)
    node = next(node for node in reversed(model.graph.node) if node.op_type == "QLinearAdd")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.1), "other"))
    node.input[1] = "other"
    with pytest.raises(UnsupportedHeadError) as caught:
        rewrite_model(model, class_token="direct")  # noqa: S106 - a mode
    assert node.name in caught.value.refusal.message
    assert "not the one that its integers were made with" in caught.value.refusal.message
