"""Which head the names belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from onnx_gapmil import inspect
from onnx_gapmil.data.names_by_head import NamedHead, names_by_head
from onnx_gapmil.data.stated_names import stated_names
from onnx_gapmil.errors import LabelsError

SIDE, COLOUR, DEFECT = NamedHead("side", 2), NamedHead("colour", 3), NamedHead("defect", 1)
FEATURES = NamedHead("f", 3, features=True)
RGB = ["red", "green", "blue"]


def names(*heads: NamedHead, **given: object) -> list[tuple[str, ...] | None]:
    return [found.names for found in names_by_head(None, heads, **given)]  # type: ignore[arg-type]


@pytest.mark.parametrize("heads", [(SIDE, COLOUR), (COLOUR, SIDE)])
def test_names_belong_to_the_head_with_that_many_classes_wherever_it_stands(heads: tuple[NamedHead, ...]) -> None:
    found = dict(zip([head.output for head in heads], names(*heads, asked=RGB), strict=True))
    assert found == {"colour": tuple(RGB), "side": None}


def test_features_have_no_names_even_if_they_are_as_many() -> None:
    found = names_by_head(None, (COLOUR, DEFECT, FEATURES), asked=RGB)
    assert [entry.names for entry in found] == [tuple(RGB), None, None]
    assert found[2].source == "Class names as given. They are of 'colour'; those of 'f' are features, no classes."
    assert found[1].source == "Class names as given. They are of 'colour'; those of 'defect' are 2, shown by number."


def test_one_logit_takes_two_names_or_one() -> None:
    assert names(DEFECT, asked=["ok", "defect"]) == [("ok", "defect")]
    assert names(DEFECT, asked=["defect"]) == [("not defect", "defect")]
    assert names(COLOUR, DEFECT, asked=["ok", "defect"]) == [None, ("ok", "defect")]
    assert names(SIDE, DEFECT, asked=["left", "right"]) == [("left", "right"), None]  # two logits before one


def test_the_head_that_is_asked_for_has_to_fit_the_names_that_are() -> None:
    with pytest.raises(LabelsError, match="3 class names were given, and the model has 2"):
        names(COLOUR, SIDE, asked=RGB, wanted="side")
    assert names(COLOUR, SIDE, asked=["a", "b"], wanted="side") == [None, ("a", "b")]


def test_names_beside_the_model_are_those_of_the_head_that_they_fit(tmp_path: Path) -> None:
    (tmp_path / "m.labels.txt").write_text("red\ngreen\nblue\n")
    found = names_by_head(tmp_path / "m.onnx", (SIDE, COLOUR), wanted="side")
    assert [entry.names for entry in found] == [None, tuple(RGB)]
    with pytest.raises(LabelsError, match=r"3 names for a model of 2 classes.* heads: 'side' \(2 classes\), 'defect' "):
        names_by_head(tmp_path / "m.onnx", (SIDE, DEFECT, FEATURES))


def test_names_that_fit_no_head_list_the_heads() -> None:
    with pytest.raises(LabelsError, match=r"'defect' \(2 classes by one logit\), 'f' \(3 features\)"):
        names(SIDE, DEFECT, FEATURES, asked=RGB)


def test_without_names_all_are_numbers() -> None:
    assert names(SIDE, COLOUR, FEATURES) == [None, None, None]
    assert names(FEATURES) == [None]


TWO_HEADS = """
<ir_version: 8, opset_import: ["" : 13, "ai.onnx.ml" : 2]>
g (float[N, 3, 8, 8] x) => (float[N, K] front, float[N, K] back, float[N, K] pf, float[N, K] pb, M zf, M zb) {
  map = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, k)
  pooled = GlobalAveragePool(map)
  flat = Flatten(pooled)
  front = Gemm(flat, w1)
  back = Gemm(flat, w2)
  pf = Softmax(front)
  n = Neg(back)
  q = Sigmoid(n)
  pb = Sub(one, q)
  LABELS
}
"""
ZIPMAPS = """zb = ai.onnx.ml.ZipMap<classlabels_strings = ["left", "right", "up"]>(pb)
  zf = ai.onnx.ml.ZipMap<classlabels_strings = ["red", "green", "blue"]>(pf)"""


def two_heads(labels: str, *, gone: tuple[str, ...] = ()) -> onnx.ModelProto:
    """Two heads of three classes: the later one's names stand first."""
    text = TWO_HEADS.replace("LABELS", labels).replace("M z", "float[N, 3] z").replace("K]", "3]")
    made = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    weights = {"k": (4, 3, 3, 3), "w1": (4, 3), "w2": (4, 3)}
    made.graph.initializer.extend(
        onnx.numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        for name, shape in weights.items()
    )
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "one"))
    for place in reversed(range(len(made.graph.output))):
        if made.graph.output[place].name in gone:
            del made.graph.output[place]
    return made


@pytest.mark.parametrize("gone", [("front", "back"), ("pf", "pb"), ()])
def test_two_zipmaps_name_the_heads_whose_scores_they_take(gone: tuple[str, ...]) -> None:
    made = two_heads(ZIPMAPS, gone=("zf", "zb", *gone))
    heads = inspect(made).heads
    found = names_by_head(None, [NamedHead(head.output, 3) for head in heads], stated=stated_names(made))
    colours, sides = ("red", "green", "blue"), ("left", "right", "up")
    expected = {"front": colours, "pf": colours, "back": sides, "pb": sides}
    assert len(heads) >= 2
    assert [entry.names for entry in found] == [expected[head.output] for head in heads]


def test_names_of_one_heads_scores_are_not_those_of_another_with_as_many() -> None:
    made = two_heads(ZIPMAPS.splitlines()[0], gone=("zf", "zb", "pf", "pb"))
    front, back = names_by_head(None, [NamedHead("front", 3), NamedHead("back", 3)], stated=stated_names(made))
    assert back.names == ("left", "right", "up")
    assert front.names is None
    assert front.source == "The classlabels of ZipMap are of 'back'; the 3 classes of 'front' are shown by number."
