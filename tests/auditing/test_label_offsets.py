"""The offset of labels, against the vendor's own answers counted by NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil import GridSession
from onnx_gapmil.auditing.label_offsets import try_offsets
from onnx_gapmil.data import ClassMap, Sample
from tests.helpers.support import raw_pixels, rng, run, text_model, weights

CLASSES = 12
MODEL = text_model(
    "c = Conv(x, w)\n p = GlobalAveragePool(c)\n y = Flatten(p)",
    x="float[N,3,4,4] x",
    y=f"float[N,{CLASSES}] y",
    init={"w": weights(CLASSES, 3, 1, 1)},
)


@pytest.fixture(scope="module")
def session() -> GridSession:
    return GridSession(MODEL)


def photos(folder: Path, count: int) -> tuple[list[Path], np.ndarray]:
    """Photos of noise, and the rank that the untouched model gives each class in them, (count, CLASSES)."""
    pixels = rng(7).integers(0, 256, (count, 4, 4, 3), np.uint8)
    paths = [folder / f"{index:03d}.png" for index in range(count)]
    for path, photo in zip(paths, pixels, strict=True):
        Image.fromarray(photo).save(path)
    (logits,) = run(MODEL, pixels.transpose(0, 3, 1, 2).astype(np.float32))
    return paths, np.argsort(np.argsort(-logits, axis=1), axis=1)


def samples(paths: list[Path], labels: list[list[int]], offset: int) -> list[Sample]:
    """Labels as numbers, translated to classes under an offset that is assumed."""
    return [
        Sample(path, path.name, tuple(label + offset for label in own)) for path, own in zip(paths, labels, strict=True)
    ]


def class_map(offset: int) -> ClassMap:
    return ClassMap(offset, {}, "assumed")


@pytest.mark.parametrize("assumed", [0, 1, -1])
def test_right_answers_are_counted_at_top_1_and_at_top_5(tmp_path: Path, session: GridSession, assumed: int) -> None:
    paths, ranks = photos(tmp_path, 40)
    labels = rng(1).integers(1, CLASSES - 1, 40)
    found = try_offsets(
        session,
        raw_pixels(4, 4),
        samples(paths, [[int(label)] for label in labels], assumed),
        class_map(assumed),
        (0, 1, -1),
    )
    expected = {}
    for offset in (0, 1, -1):
        own = ranks[np.arange(40), labels + offset]
        expected[offset] = (int((own < 1).sum()), int((own < 5).sum()))
    assert found.right == expected
    assert all(top1 < top5 for top1, top5 in expected.values())
    assert found.images == 40
    best = max(expected, key=lambda offset: expected[offset])
    assert found.offset == best
    assert f"{best:+d}: {expected[best][0]} at top-1, {expected[best][1]} at top-5" in found.sentence()


def test_top_1_decides_before_top_5(tmp_path: Path, session: GridSession) -> None:
    """Under 0 three images of ten are right at top-1 and no other at top-5; under +1 none is, and all are at top-5."""
    paths, ranks = photos(tmp_path, 400)
    first, others = [], []
    for place, own in enumerate(ranks):
        by_rank = np.argsort(own)
        if by_rank[0] < CLASSES - 1 and 1 <= own[by_rank[0] + 1] < 5:
            first.append((place, int(by_rank[0])))
        found = [label for label in range(CLASSES - 1) if own[label] >= 5 and 1 <= own[label + 1] < 5]
        if found:
            others.append((place, found[0]))
    chosen = [*first[:3], *[entry for entry in others if entry not in first][:7]]
    assert len(chosen) == 10
    found = try_offsets(
        session,
        raw_pixels(4, 4),
        samples([paths[place] for place, _ in chosen], [[label] for _, label in chosen], 0),
        class_map(0),
        (1, 0),
    )
    assert found.right == {0: (3, 3), 1: (0, 10)}
    assert found.offset == 0
    assert found.sentence().startswith("Labels are the model's classes: found out by the model's answers to 10 images")


def test_an_image_with_several_labels_is_right_by_its_best(tmp_path: Path, session: GridSession) -> None:
    paths, ranks = photos(tmp_path, 12)
    labels = [[2, 5, 9]] * 12
    found = try_offsets(session, raw_pixels(4, 4), samples(paths, labels, 0), class_map(0), (0, -1))
    for offset in (0, -1):
        best = ranks[:, np.array(labels[0]) + offset].min(axis=1)
        assert found.right[offset][0] == (best < 1).sum()
    # Other true classes that come first are no mistakes: two labels before a third leave it among the first five.
    assert found.right[0][1] >= (ranks[:, labels[0]].min(axis=1) < 5).sum()


def test_of_equal_offsets_the_likeliest_is_taken(tmp_path: Path, session: GridSession) -> None:
    paths, ranks = photos(tmp_path, 60)
    place = next(p for p in range(60) if ranks[p, 3] >= 5 and ranks[p, 4] >= 5)
    for offsets in ((0, 1), (1, 0)):
        found = try_offsets(session, raw_pixels(4, 4), samples([paths[place]], [[3]], 0), class_map(0), offsets)
        assert found.right == dict.fromkeys(offsets, (0, 0))
        assert found.offset == offsets[0]


def test_at_most_64_images_spread_over_the_data_set_decide(tmp_path: Path, session: GridSession) -> None:
    paths, ranks = photos(tmp_path, 200)
    found = try_offsets(session, raw_pixels(4, 4), samples(paths, [[4]] * 200, 0), class_map(0), (0, 1))
    tried = ranks[::3][:64]
    assert found.images == 64
    assert found.right[0] == ((tried[:, 4] < 1).sum(), (tried[:, 4] < 5).sum())


def test_an_image_that_cannot_be_read_does_not_count(tmp_path: Path, session: GridSession) -> None:
    paths, ranks = photos(tmp_path, 9)
    paths[4].write_bytes(b"no picture")
    found = try_offsets(session, raw_pixels(4, 4), samples(paths, [[4]] * 9, 0), class_map(0), (0,))
    assert found.images == 8
    assert found.right[0][1] == (np.delete(ranks[:, 4], 4) < 5).sum()
