"""Rows that compare sizes are of the images that all runs have, and no run's records are all there as objects."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.auditing import by_size
from onnx_gapmil.auditing.by_size import Measured, figures_by_size
from onnx_gapmil.auditing.records import ImageRecord
from onnx_gapmil.files import packed, parts
from onnx_gapmil.files.packed import PackedBatches, PackedRecords
from onnx_gapmil.metrics.accuracy import accuracy
from onnx_gapmil.metrics.temperature import best_temperature
from tests.metrics.test_summary import RECORDS


def records(count: int, seed: int) -> list[ImageRecord]:
    """Images whose measures are those of another test, with ranks, ladders and games of their own."""
    rng = np.random.default_rng(seed)
    made = []
    for place in range(count):
        measures = RECORDS[place % len(RECORDS)]
        assert measures.pointing is not None
        pointing = replace(measures.pointing, hits=int(rng.integers(0, measures.pointing.games + 1)))
        measures = replace(measures, nll_ladder=tuple(rng.uniform(0, 9, 17).tolist()), pointing=pointing)
        ranks = {name: tuple(rng.integers(0, 3, len(measures.labels)).tolist()) for name in AGGREGATORS}
        made.append(ImageRecord(f"{place}.jpg", (60, 40), ((measures.prediction, 0.5),), ranks, measures))
    return made


def run_of(own: Sequence[ImageRecord], side: int, folder: str = "") -> Measured:
    return Measured((side, side), 1, (4, 4), folder, own)


def test_images_that_one_run_lacks_count_in_none() -> None:
    first, second = records(40, 0), records(40, 1)
    second[3:30] = [
        replace(record, measures=replace(record.measures, pointing=None, label_cells=None)) for record in second[3:30]
    ]
    first[31] = replace(first[31], measures=replace(first[31].measures, pointing=None))
    kept = [place for place in range(40) if place not in (0, 7, 8, 39)]
    found = figures_by_size([run_of(first[1:], 32), run_of([*second[:7], *second[9:39]], 48, "48x48")])
    alone = [[each[place] for place in kept] for each in (first, second)]
    assert found == figures_by_size([run_of(alone[0], 32), run_of(alone[1], 48, "48x48")])
    for row, own in zip(found, alone, strict=True):
        assert row.images == 36
        ladders = [record.measures.nll_ladder for record in own if record.measures.nll_ladder is not None]
        assert row.temperature == best_temperature(ladders)
        assert row.temperature is not None
        assert row.temperature.nll == np.mean(ladders, axis=0)[8]
        shares = {name: accuracy([record.aggregators[name] for record in own], 1) for name in AGGREGATORS}
        assert (row.best_aggregator, row.best_top1) == max(shares.items(), key=lambda item: item[1])
        cells = [record.measures.label_cells for record in own if record.measures.label_cells is not None]
        assert row.label_cells == np.mean([each / 16 for each in cells])
    pairs = [(new.measures.pointing, old.measures.pointing) for old, new in zip(*alone, strict=True)]
    changes = [new.hits / new.games - old.hits / old.games for new, old in pairs if new is not None and old is not None]
    assert 0 < len(changes) < 36
    assert found[1].pointing_difference is not None
    assert found[1].pointing_difference.value == np.mean(changes)


def test_runs_without_a_common_image_have_no_rows() -> None:
    made = records(4, 0)
    assert figures_by_size([run_of(made[:2], 32), run_of(made[2:], 48)]) == ()


def test_runs_whose_images_have_another_order_are_not_paired() -> None:
    made = records(4, 0)
    with pytest.raises(ValueError, match=r"1\.jpg does not stand where it stood"):
        figures_by_size([run_of(made[:2], 32), run_of(made[1::-1], 48)])


def test_records_that_lie_packed_do_not_become_objects_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_UNPACKED", 0)
    monkeypatch.setattr(packed, "_PART", 16)
    made = records(len(RECORDS), 0)
    batches = PackedBatches[ImageRecord]()
    for place in range(25):
        batches.append([replace(record, image=f"{place}/{record.image}") for record in made])
    lie = PackedRecords(batches, range(25))
    names = [record.image for record in lie]
    tracemalloc.start()
    found = by_size._Numbers.of(lie, names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.columns) == len(names)
    assert peak < 1000 * len(names)  # as objects they take some 5,000 bytes each
