"""Class tokens in further spellings: orders of tokens, letters of an Einsum, shared keys, kinds of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnx_gapmil.lift.tokens.modes import ClassTokenMode
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.lift.test_class_tokens import answers, images, refused, run
from tests.references.class_token_spellings import PLAIN, Spelled
from tests.references.class_token_vit import Vit

#: Registers behind the two rows of three patches.
BEHIND = (0, 3, 4, 5, 6, 7, 8, 1, 2)
LAST = (1, 2, 3, 4, 5, 6, 0)
ORDERS: dict[str, dict[str, Any]] = {
    "registers behind the patches": {"registers": 2, "order": BEHIND},
    "registers around them": {"registers": 2, "order": (1, 0, 3, 4, 5, 6, 7, 8, 2)},
    "the class token amid registers": {"registers": 3, "order": (1, 2, 0, 3, 4, 5, 6, 7, 8, 9)},
    "the class token last": {"order": LAST},
    "registers first, the class token last": {"registers": 2, "order": (1, 2, 3, 4, 5, 6, 7, 8, 0)},
}
LETTERS: dict[str, dict[str, Any]] = {
    "CvT's": {"einsum": PLAIN},
    "Flax's": {"einsum": ("bihd,bjhd->bhij", "bhij,bjhd->bihd")},
    "Keras's": {
        "einsum": ("bjhd,bihd->bhij", "bhij,bjhd->bihd"),
        "dense": ("btc,chd->bthd", "bihd,hdc->bic"),
    },
    "keys before queries": {"einsum": ("bhjd,bhid->bhji", "bhji,bhjd->bhid")},
    "values before weights": {"einsum": ("bhjd,bhid->bhij", "bhjd,bhij->bhid")},
    "channels before tokens": {"einsum": ("bhdi,bhdj->bhij", "bhij,bhdj->bhdi")},
    "heads last": {"einsum": ("bidh,bjdh->bijh", "bijh,bjdh->bidh"), "batch": 1},
    "weights first": {"dense": ("dch,btc->btdh", "chd,bihd->bic"), "heads": 4},
    "a mask by letters": {"einsum": ("bhjd,bhid->bhji", "bhji,bhjd->bhid"), "mask": "where"},
}
SHARED: dict[str, dict[str, Any]] = {
    **{word: {"heads": 4, "shared": 2, "repeats": word} for word in ("expand", "tile", "gather", "broadcast")},
    "by letters": {"heads": 4, "shared": 2, "einsum": PLAIN},
    "ONNX's own": {"heads": 4, "shared": 2, "repeats": "standard"},
    "ONNX Runtime's": {"heads": 4, "shared": 2, "repeats": "grouped", "batch": 2, "width": 32},
    "ONNX Runtime's, packed": {"heads": 4, "shared": 2, "repeats": "packed", "batch": 2, "width": 32},
    "ONNX Runtime's, causal": {
        "heads": 2,
        "repeats": "grouped",
        "width": 16,
        "batch": 1,
        "mask": "causal",
        "order": LAST,
    },
    "one for all": {"heads": 4, "shared": 4},
}
MASKS: dict[str, dict[str, Any]] = {
    "where": {"mask": "where"},
    "added, infinite": {"mask": "infinite"},
    "of the shape": {"mask": "shapes"},
    "of patches alone, put in place": {"mask": "scattered", "batch": 2},
    "ONNX's own, truth values": {"repeats": "standard", "mask": "truth"},
    "ONNX's own, infinite": {"repeats": "standard", "mask": "infinite", "batch": 1},
    "ONNX's own, causal": {"repeats": "standard", "mask": "causal", "order": LAST},
    "ONNX Runtime's, of keys": {"qkv": "MultiHeadAttention", "mask": "keys", "batch": 2},
    "ONNX Runtime's fused, of keys": {"qkv": "Attention", "mask": "keys", "batch": 2},
    "ONNX Runtime's, causal": {"qkv": "MultiHeadAttention", "mask": "causal", "order": LAST},
    "ONNX Runtime's fused, causal": {"qkv": "Attention", "mask": "causal", "order": LAST},
}
BRANCHES: dict[str, dict[str, Any]] = {
    "stacked": {"stacked": True},
    "stacked, one image": {"stacked": True, "batch": 1},
    "normalized head by head": {"head_norm": True},
    "fixed numbers beside them": {"beside": True},
    "fixed numbers beside them, three images": {"beside": True, "batch": 3},
}
LINEAR: dict[str, dict[str, Any]] = {
    "CoaT's": {"linear": True},
    "divided": {"linear": True, "divided": True},
    "by letters": {"linear": True, "einsum": ("bhje,bhjd->bhde", "bhie,bhde->bhid"), "heads": 4},
}
SPELLINGS = {
    f"{kind}: {name}": given
    for kind, all_ in (
        ("tokens", ORDERS),
        ("letters", LETTERS),
        ("shared keys", SHARED),
        ("mask", MASKS),
        ("linear", LINEAR),
        ("branches", BRANCHES),
    )
    for name, given in all_.items()
}


def _both(names: list[str]) -> list[tuple[str, ClassTokenMode]]:
    """Each with one of the modes, in turn: they differ behind attentions, which is where these do not."""
    modes: tuple[ClassTokenMode, ...] = ("direct", "through")
    return [(name, modes[place % 2]) for place, name in enumerate(names)]


@pytest.mark.parametrize(("spelling", "mode"), _both(list(SPELLINGS)))
def test_grid_is_the_decomposition(spelling: str, mode: ClassTokenMode) -> None:
    got, expected = answers(Spelled(**SPELLINGS[spelling]), mode)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() <= 3e-5 * np.abs(theirs).max()


QUANTIZED: dict[str, dict[str, Any]] = {
    "letters": {"integers": "uint8", "einsum": PLAIN, "batch": 1},
    "shared keys": {"integers": "int8", "heads": 4, "shared": 2},
    "registers behind": {"integers": "int8", "registers": 2, "order": BEHIND},
}


@pytest.mark.parametrize(("spelling", "mode"), _both(list(QUANTIZED)))
def test_quantized_spellings(spelling: str, mode: ClassTokenMode) -> None:
    vit = Spelled(**QUANTIZED[spelling])
    got, expected = answers(vit, mode)
    assert vit.margin > 5e-5  # of a step: no number is rounded the other way in float32
    for mine, theirs in zip(got, expected, strict=True):
        assert np.abs(mine - theirs).max() <= 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize(
    "given", [{"repeats": "standard", "mask": "truth"}, {"einsum": PLAIN, "heads": 4, "shared": 2}]
)
def test_half_precision(given: dict[str, Any]) -> None:
    got, expected = answers(Spelled(half=True, **given), "direct")
    for mine, theirs in zip(got, expected, strict=True):
        assert np.abs(mine - theirs).max() <= 2e-2 * np.abs(theirs).max()


@pytest.mark.parametrize("mode", ["direct", "through"])
def test_weights_that_a_normalization_standardizes_are_no_random_numbers(mode: ClassTokenMode) -> None:
    """PyTorch's legacy exporter spells a StdConv2d's weights as a BatchNormalization in training mode."""
    vit = Vit(layers=1)
    raw = vit.weights["patches"]
    flat = raw.reshape(1, vit.width, -1)
    standard = (flat - flat.mean(axis=2, keepdims=True)) / np.sqrt(flat.var(axis=2, keepdims=True) + 1e-5)
    vit.weights["patches"] = standard.reshape(raw.shape).astype(np.float32)
    model = vit.model()
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "patches"]
    numbers = {"raw": flat, "one": np.ones(vit.width, np.float32), "nought": np.zeros(vit.width, np.float32)}
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in numbers.items())
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(raw.shape), "as before"))
    made = ["standard", "mean", "variance"]
    given = ["raw", "one", "nought", "nought", "one"]
    model.graph.node.insert(0, onnx.helper.make_node("BatchNormalization", given, made, training_mode=1))
    model.graph.node.insert(1, onnx.helper.make_node("Reshape", ["standard", "as before"], ["patches"]))
    head = (found := rewrite_model(model, class_token=mode)).heads[0]
    assert head.grid is not None
    data = images(vit)
    # Folded, as deployed: unfolded, ONNX Runtime's kernel standardizes otherwise.
    (grid,) = run(found, data, head.grid, optimize=True)
    expected = vit.run(data, mode)[1]
    assert np.abs(grid - expected).max() <= 3e-5 * np.abs(expected).max()


def _mean_of_two(vit: Vit, *, spelled: str) -> onnx.ModelProto:
    """A head on the mean of the class token and a distillation token, the second of all."""
    model = vit.model()
    take = next(node for node in reversed(model.graph.node) if node.op_type == "Gather")
    place = list(model.graph.node).index(take)

    def ints(name: str, *values: int) -> str:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    axis = ints("along", 0 if vit.tokens_first else 1)
    new = [onnx.helper.make_node("Slice", [take.input[0], ints("from", 0), ints("to", 2), axis], ["two"], name="two")]
    if spelled == "mean":
        new.append(onnx.helper.make_node("ReduceMean", ["two", axis], take.output, keepdims=0))
    else:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "half"))
        new += [
            onnx.helper.make_node("ReduceSum", ["two", axis], ["both"], keepdims=0),
            onnx.helper.make_node("Mul", ["both", "half"], take.output),
        ]
    model.graph.node.remove(take)
    for offset, node in enumerate(new):
        model.graph.node.insert(place + offset, node)
    return model


@pytest.mark.parametrize(
    ("mode", "spelled", "given"),
    [("direct", "mean", {}), ("through", "sum", {}), ("direct", "mean", {"tokens_first": True, "batch": 1})],
)
def test_a_mean_of_two_tokens_is_the_mean_of_their_decompositions(
    mode: ClassTokenMode, spelled: str, given: dict[str, Any]
) -> None:
    vit, other = Vit(registers=1, **given), Vit(registers=1, **given)
    for name in ("start", "position"):  # the second token in the first's place
        other.weights[name][:, [0, 1]] = other.weights[name][:, [1, 0]]
    found, data = rewrite_model(_mean_of_two(vit, spelled=spelled), class_token=mode), images(vit)
    head = found.heads[0]
    assert head.grid is not None
    assert head.placeless is not None
    made = run(found, data, head.logits, head.grid, head.placeless)
    for mine, one, two in zip(made, vit.run(data, mode), other.run(data, mode), strict=True):
        assert np.abs(mine - (one + two) / 2).max() <= 3e-5 * np.abs(one).max()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"registers": 2, "order": (0, 3, 4, 5, 1, 2, 6, 7, 8)}, "it attends to 9 tokens"),
        ({"registers": 1, "order": (0, 2, 3, 4, 5, 1, 6, 7)}, "no place of their own"),
    ],
)
def test_tokens_without_a_place_amid_the_patches_are_refused_by_name(given: dict[str, Any], said: str) -> None:
    assert said in refused(Spelled(**given).model())


@pytest.mark.parametrize(
    ("equation", "said"),
    [
        ("bhij,bhjd,h->bhid", "'bhij,bhjd,h->bhid' is no product of two tensors"),
        ("bhij,bhkd->bhid", "'bhij,bhkd->bhid' sums one operand by itself"),
    ],
)
def test_an_einsum_that_is_no_attention_is_refused_by_name(equation: str, said: str) -> None:
    model = Spelled(einsum=PLAIN).model()
    *_, node = (node for node in model.graph.node if node.op_type == "Einsum")
    if equation.count(",") > 1:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2, np.float32), "each head"))
        node.input.append("each head")
    node.attribute[0].s = equation.encode()
    text = refused(model)
    assert node.name in text
    assert said in text
