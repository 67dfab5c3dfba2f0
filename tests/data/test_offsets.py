from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.data import DataSet, RawSample, candidate_offsets, resolve_classes
from onnx_gapmil.errors import DataError


def numbered(*labels, kind="csv"):
    samples = tuple(RawSample(Path(f"/{label}.png"), f"{label}.png", (label,)) for label in labels)
    return DataSet(samples, kind, Path("/"), "A set.")


def names(classes, background=None):
    found = [f"thing {index}" for index in range(classes)]
    if background is not None:
        found[background] = "background"
    return found


@pytest.mark.parametrize(
    ("labels", "classes", "known", "offsets"),
    [
        # All classes are used: nothing to doubt.
        ((0, 9), 10, None, (0,)),
        ((1, 10), 10, None, (-1,)),
        ((0, 9), 10, names(10), (0,)),
        # A background class: label 0 cannot be it.
        ((0, 999), 1001, names(1001, 0), (1,)),
        ((0, 5), 1001, names(1001, 0), (1,)),
        ((1, 1000), 1001, names(1001, 0), (0,)),
        ((5, 7), 1001, names(1001, 0), (1, 0)),
        # 1001 classes without names: likely a background class.
        ((0, 999), 1001, None, (1, 0)),
        ((0, 1000), 1001, None, (0,)),
        # Names without a background class: nothing is added.
        ((0, 5), 10, names(10), (0,)),
        ((2, 5), 10, names(10), (0, -1)),
        # No names and few labels.
        ((0, 5), 10, None, (0, 1)),
        ((2, 5), 10, None, (0, -1, 1)),
        # A background class at the end.
        ((0, 8), 10, names(10, 9), (0,)),
        ((1, 9), 10, names(10, 9), (-1,)),
        # Nothing fits.
        ((0, 10), 10, None, ()),
        ((5, 11), 10, None, ()),
    ],
)
def test_offsets_that_labels_and_names_allow(labels, classes, known, offsets):
    assert candidate_offsets(numbered(*labels), classes, known) == offsets


def test_names_have_no_offset():
    assert candidate_offsets(numbered("cat"), 10, None) == ()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(1, 12), st.sampled_from([None, -1, 0]))
def test_every_candidate_keeps_all_labels_among_the_classes(labels, classes, background):
    known = None if background is None else names(classes, background)
    for offset in candidate_offsets(numbered(*labels), classes, known):
        mapped = {label + offset for label in labels}
        assert mapped <= set(range(classes))
        if known is not None and classes > 1:
            assert "background" not in {known[index] for index in mapped}


@pytest.mark.parametrize(
    ("labels", "classes", "known", "offset", "says"),
    [
        ((0, 9), 10, None, 0, "from 0 to 9, and the model has 10 classes whose names are not known: class = label."),
        ((0, 999), 1001, names(1001, 0), 1, "class = label + 1, since class 0 is a background class."),
        (
            (0, 999),
            1001,
            None,
            1,
            "class = label + 1, if class 0 is a background class. This is assumed: offset 0",
        ),
        ((1, 10), 10, None, -1, "class = label - 1, since the labels count from 1."),
        ((2, 5), 10, None, 0, "class = label. This is assumed: offset -1 or +1 would fit as well."),
        ((2, 5), 10, names(10), 0, "('thing 0', 'thing 1', 'thing 2', ...): class = label. This is assumed: offset -1"),
    ],
)
def test_the_offset_is_announced(labels, classes, known, offset, says):
    found = resolve_classes(numbered(*labels), classes=classes, names=known)
    assert found.offset == offset
    assert found.table == {label: (label + offset,) for label in labels}
    assert says in found.source
    assert found.to_json() == {"offset": offset, "source": found.source, "table": None}


def test_a_given_offset_is_kept_to_and_checked():
    assert resolve_classes(numbered(2, 5), classes=10, offset=-2).table == {2: (0,), 5: (3,)}
    with pytest.raises(DataError, match=r"with offset \+5 they would be 7 to 10\."):
        resolve_classes(numbered(2, 5), classes=10, offset=5)
    with pytest.raises(DataError, match=r"with offset -3 they would be -1 to 2\."):
        resolve_classes(numbered(2, 5), classes=10, offset=-3)


def test_numbers_that_no_offset_fits():
    with pytest.raises(DataError, match=r"from 0 to 10, and the model has 10 classes .*: no offset of -1, 0 or 1"):
        resolve_classes(numbered(0, 10), classes=10)


def test_folders_whose_names_are_numbers_follow_the_models_names():
    """ImageFolder sorts names as text, so that folder 10 is class 2."""
    known = sorted(map(str, range(12)))
    found = resolve_classes(numbered(0, 2, 10, kind="folders"), classes=12, names=known)
    assert found.table == {0: (0,), 2: (4,), 10: (2,)}
    assert found.offset is None
    assert resolve_classes(numbered(0, 2, 10), classes=12, names=known).table == {0: (0,), 2: (2,), 10: (10,)}
