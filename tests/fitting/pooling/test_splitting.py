"""Halves and folds: groups stay whole, classes are dealt evenly, and the same picture is never on both sides."""

from __future__ import annotations

import numpy as np

from onnx_gapmil.fitting.pooling.splitting import deal, joined


def test_images_that_share_a_key_of_any_kind_are_one_group() -> None:
    found = joined(5, ["a", "b", "c", "a", "d"], [1, 2, 2, 3, 4])
    assert found.tolist() == [0, 1, 1, 0, 2]
    assert joined(3, ["a", "b", "c"], [1, 1, 2], ["x", "y", "y"]).tolist() == [0, 0, 0]


def test_groups_stay_whole_and_classes_are_dealt_evenly() -> None:
    groups = np.repeat(np.arange(60), 2)
    strata = np.repeat(np.arange(60) % 3, 2)
    for parts in (2, 5):
        found = deal(groups, strata, parts, seed=3)
        assert {len(set(found[groups == group])) for group in range(60)} == {1}
        counts = [[int((strata[found == part] == stratum).sum()) for stratum in range(3)] for part in range(parts)]
        assert np.ptp(counts, axis=0).max() <= 2  # one group of two images
        assert sorted(set(found.tolist())) == list(range(parts))
    assert deal(groups, strata, 2, seed=3).tolist() != deal(groups, strata, 2, seed=4).tolist()
    assert deal(groups, strata, 2, seed=3).tolist() == deal(groups, strata, 2, seed=3).tolist()
