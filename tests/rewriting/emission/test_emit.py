"""What can be emitted, as text and as a value."""

from __future__ import annotations

import pytest

from onnx_gapmil.aggregate import Aggregator
from onnx_gapmil.errors import InputError
from onnx_gapmil.rewriting.emission.emit import Emit

MAX, SHARP = Aggregator("max"), Aggregator("lse", 10)
NOTHING = Emit(features=False, grid=False)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("features,grid",), Emit()),
        (("grid",), Emit(features=False)),
        (("logits",), NOTHING),
        (("topk:5",), Emit(features=False, grid=False, topk=5)),
        (("classes:3,17",), Emit(features=False, grid=False, classes=(3, 17))),
        (("classes:3,17,3",), Emit(features=False, grid=False, classes=(3, 17))),
        (("scores:max,lse=10",), Emit(features=False, grid=False, scores=(MAX, SHARP))),
        (("scores:topk,topk:2",), Emit(features=False, grid=False, scores=(Aggregator("topk"),), topk=2)),
        (("scores:topk=0.5",), Emit(features=False, grid=False, scores=(Aggregator("topk", 0.5),))),
        (
            ("features, grid ,argmax,topk:5,classes:3, 17,scores:max,lse=10,peaks,certainty",),
            Emit(True, True, True, True, True, 5, (3, 17), (MAX, SHARP)),
        ),
        (("argmax", "classes:1", "classes:0"), Emit(False, False, argmax=True, classes=(1, 0))),
    ],
)
def test_text_is_read(texts: tuple[str, ...], expected: Emit) -> None:
    assert Emit.parse(*texts) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is nothing that can be emitted; there are features, grid"),
        ("grids", "'grids' is nothing that can be emitted"),
        ("topk", "'topk' is nothing"),
        ("topk:five", "a whole number such as topk:5"),
        ("topk:", "a whole number such as topk:5"),
        ("topk:0", "topk:0 asks for no class"),
        ("topk:2,topk:3", "asked for twice"),
        ("classes:", "a class is given by its number"),
        ("classes:cat", "classes:cat: a class is given by its number"),
        ("classes:1,-2", "numbered from 0; -2 was given"),
        ("classes:1,argmax,2", "'2' is nothing that can be emitted"),
        ("scores:best", "no aggregator 'best'"),
        ("max", "'max' is nothing that can be emitted"),
        ("grid,", "'' is nothing that can be emitted"),
        ("argmax:3", "'argmax:3' is nothing"),
    ],
)
def test_wrong_text_is_told_what_is_right(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Emit.parse(text)


@pytest.mark.parametrize(
    "emit", [Emit(), NOTHING, Emit(False, False, True, True, True, 5, (3, 17), (MAX, SHARP)), Emit(topk=1)]
)
def test_words_are_read_back(emit: Emit) -> None:
    assert Emit.parse(str(emit)) == emit
    assert Emit.parse(*emit.words) == emit


def test_of_takes_a_value_its_text_or_nothing() -> None:
    assert Emit.of(None) == Emit()
    assert Emit.of("grid") == Emit.of(Emit(features=False))


def test_what_is_missing_is_named() -> None:
    wish = Emit.parse("grid,argmax,topk:5,classes:1,scores:max,lse=10")
    assert wish.missing_from(wish) == ()
    assert NOTHING.missing_from(wish) == ()
    assert wish.missing_from(Emit.parse("grid,topk:4,classes:1,2,scores:max")) == (
        "argmax",
        "topk:5",
        "classes:1",
        "scores:lse=10",
    )


def test_a_head_with_too_few_classes_is_named() -> None:
    with pytest.raises(
        InputError, match="topk:5 was asked for, and the head of 'scores' has 3 classes; ask for topk:3"
    ):
        Emit(topk=5).require_classes("scores", 3)
    with pytest.raises(
        InputError, match="class 3 was asked for, and the head of 'y' has 3 classes, numbered from 0 to 2"
    ):
        Emit(classes=(2, 3)).require_classes("y", 3)
    Emit(topk=3, classes=(2,)).require_classes("scores", 3)


def test_json() -> None:
    assert Emit(topk=5, classes=(3,), scores=(SHARP,)).to_json() == {
        "features": True,
        "grid": True,
        "argmax": False,
        "certainty": False,
        "peaks": False,
        "topk": 5,
        "classes": [3],
        "scores": ["lse=10"],
    }
