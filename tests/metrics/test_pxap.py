"""PxAP against scikit-learn's average precision of the same quantised scores, and the source's own sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from onnx_gapmil.metrics.pxap import BINS, PixelScores, pixel_average_precision, pixel_scores, score_bins


def image(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = rng.integers(-1, 2, size=(20, 30)).astype(np.int8)
    scores = np.clip(rng.random((20, 30)) + 0.2 * mask, 0, 1).astype(np.float32)
    return scores, mask


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3))
def test_pxap_is_average_precision_of_pooled_pixels(seeds):
    images = [image(seed) for seed in seeds]
    found = pixel_average_precision([pixel_scores(*each) for each in images])
    truth = np.concatenate([mask[mask >= 0] for _, mask in images])
    scores = np.concatenate([np.floor(values[mask >= 0].astype(np.float64) * 100 + 1e-12) for values, mask in images])
    assert found == pytest.approx(average_precision_score(truth, scores), abs=1e-12)


def test_bins_are_numpys_histogram_of_the_source():
    scores = np.concatenate([np.linspace(0, 1, 997), np.arange(101) / 100]).astype(np.float32)
    edges = np.append(np.arange(0, 1, 0.01), [1.0, 2.0])
    expected, _ = np.histogram(scores.astype(np.float64), bins=edges)
    np.testing.assert_array_equal(np.bincount(score_bins(scores), minlength=BINS), expected)


def test_padding_counts_as_neither():
    scores = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    counts = pixel_scores(scores, np.array([[1, -1, 0]], dtype=np.int8))
    assert (sum(counts.object), sum(counts.other)) == (1, 1)
    assert (counts.object[0], counts.other[100]) == (1, 1)


def test_a_perfect_map_and_no_object():
    scores = np.array([[0.1, 0.2, 0.9]], dtype=np.float32)
    assert pixel_average_precision([pixel_scores(scores, np.array([[0, 0, 1]], np.int8))]) == 1.0
    assert pixel_average_precision([pixel_scores(scores, np.zeros((1, 3), np.int8))]) is None
    assert pixel_average_precision([]) is None


def test_by_hand():
    counts = [0] * BINS
    inside, outside = counts.copy(), counts.copy()
    inside[80], outside[80] = 1, 1  # precision 1/2 at recall 1/2
    inside[10], outside[10] = 1, 2  # precision 2/5 at recall 1
    assert pixel_average_precision([PixelScores(tuple(inside), tuple(outside))]) == pytest.approx(0.25 + 0.2)
