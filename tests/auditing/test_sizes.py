"""An audit at several sizes, and of a stitched grid: each row against an audit of its own, and the pairs by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from PIL import Image

from onnx_gapmil import Classifier, audit, repool
from onnx_gapmil.auditing.sizes import parse_sizes
from onnx_gapmil.errors import InputError, ModelError
from tests.helpers import scene_data as scenes
from tests.helpers import sized
from tests.helpers.verbs import SAMPLES, run, run_json

RECIPE = {"layout": "NCHW", "color": "RGB", "size": [16, 16], "scale": 1 / 255, "dtype": "float32"}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A model of fixed 16x16 pixels, and 12 photos of noise with boxes."""
    onnx.save(sized.model("window", 16, 16), tmp_path / "m.onnx")
    (tmp_path / "m.preprocess.json").write_text(json.dumps(RECIPE))
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    lines = []
    model = Classifier(tmp_path / "m.onnx")
    for place in range(12):
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) // (1 + place % 4)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{place}.png")
        own = model.predict(pixels).heads[0].top[0].index  # right at its own size but for two: no guess
        lines.append({"image": f"{place}.png", "label": own if place > 1 else (own + 1) % 5, "boxes": [[5, 5, 30, 35]]})
    (tmp_path / "data" / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def audited(made: Path, out: str, **options: Any) -> dict[str, Any]:
    return audit(made / "m.onnx", made / "data" / "labels.jsonl", made / out, label_offset=0, **options).to_json()


def test_each_row_is_what_an_audit_of_that_size_finds(made: Path) -> None:
    found = audited(made, "all", size="16,32x48")
    rows = found["sizes"]
    assert [(row["size"], row["grid"], row["folder"]) for row in rows] == [
        ([16, 16], [4, 4], ""),
        ([32, 48], [8, 12], "32x48"),
    ]
    for row, size in zip(rows, ("16", "32x48"), strict=True):
        alone = audited(made, f"alone{size}", size=size)
        assert alone["sizes"] == []
        assert row["top1"] == alone["top1"]
        assert row["maxboxacc_v2"] == alone["maxboxacc_v2"]
        assert row["pointing_game"] == alone["pointing_game"]
        assert row["ece"] == alone["calibration"]["ece"]
        assert row["temperature"]["nll"] == pytest.approx(alone["calibration"]["nll"])
        assert row["recovery"] == alone["foreground"]["wrong"]["any_top1"]
    assert (found["size"], found["stitch"]) == (None, 1)
    assert json.loads((made / "all" / "32x48" / "summary.json").read_text())["size"]["original"] == [16, 16]
    assert not (made / "all" / "32x48" / ".audit").exists()


def test_differences_are_paired_by_image(made: Path) -> None:
    found = audited(made, "all", size=[(16, 16), 32])
    tables = [pq.read_table(made / "all" / part / "images.parquet").to_pylist() for part in ("", "32x32")]
    right = [np.array([row["right"] for row in table], float) for table in tables]
    hits = [np.array([row["pointing_game"] for row in table], float) for table in tables]
    change = found["sizes"][1]
    assert change["top1_difference"]["value"] == pytest.approx((right[1] - right[0]).mean())
    assert change["pointing_difference"]["value"] == pytest.approx((hits[1] - hits[0]).mean())
    low, high = change["top1_difference"]["interval"]
    assert low <= change["top1_difference"]["value"] <= high
    assert found["sizes"][0]["top1_difference"] is None


def test_a_stitched_audit_has_the_models_own_grid_beside_it(made: Path) -> None:
    found, plain = audited(made, "all", stitch=2), audited(made, "alone")
    first, second = found["sizes"]
    assert (first["stitch"], first["grid"], second["stitch"], second["grid"]) == (1, [4, 4], 2, [8, 8])
    assert found["stitch"] == 2
    assert found["top1"] == plain["top1"] == first["top1"]
    assert found["calibration"] == plain["calibration"]
    assert found["aggregators"]["mean"] == plain["aggregators"]["mean"]  # and not the mean of the stitched cells
    assert first["maxboxacc_v2"] == plain["maxboxacc_v2"]
    assert found["head"]["grid_shape"][2:] == [8, 8]
    assert "not the model's answer" in found["head"]["note"]


def test_a_repooled_models_mean_is_the_vendors_of_the_unshifted_image(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the mean of the stitched cells, nor the model's own answer, which its pool gives of its own cells."""
    vendors = audited(made, "vendors")
    repool(made / "m.onnx", "max", output=made / "m.repooled.onnx")
    (made / "m.repooled.onnx").rename(made / "m.onnx")
    plain, found = audited(made, "plain"), audited(made, "all", stitch=2)
    assert plain["top1"] != vendors["top1"]
    assert found["top1"] == plain["top1"] == found["sizes"][0]["top1"]
    assert found["aggregators"]["mean"] == vendors["aggregators"]["mean"] == plain["aggregators"]["mean"]
    assert found["aggregators"]["max"] != plain["aggregators"]["max"]  # of four times as many cells
    assert run("audit", made / "m.onnx", made / "data/labels.jsonl", "-o", made / "all", "--stitch", 2) == 0
    said = capsys.readouterr().out
    assert "mean (the vendor's)" in said
    assert "max (the model's own)" not in said


def test_a_run_that_was_stopped_goes_on_at_every_size(made: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done and (made / "all" / "24x24" / "summary.json").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audited(made, "all", size="16,24,32", batch=4, progress=stop)
    measured: list[int] = []
    found = audited(made, "all", size="16,24,32", batch=4, progress=lambda done, _: measured.append(done))
    assert len(measured) < 9  # three batches a size
    assert found == audited(made, "again", size="16,24,32", batch=4)


def test_a_size_that_forbids_itself_is_said_before_anything_is_measured(made: Path) -> None:
    body = "g = Add(m, pos)  p = GlobalAveragePool(g)"
    onnx.save(sized.built(body, 16, 16, pos=np.ones((1, 8, 4, 4), np.float32)), made / "m.onnx")
    with pytest.raises(ModelError, match="'pos'"):
        audited(made, "all", size="16,32")
    assert not (made / "all").exists()


def test_sizes_are_read_as_a_list() -> None:
    assert parse_sizes("224,320x448, 224") == ((224, 224), (320, 448))
    assert parse_sizes([224, (1, 2), "3x4"]) == ((224, 224), (1, 2), (3, 4))
    assert parse_sizes((2, 3)) == ((2, 3),)
    assert parse_sizes(None) == ()
    with pytest.raises(InputError, match="12 at the most"):
        parse_sizes(",".join(map(str, range(1, 20))))
    with pytest.raises(InputError, match="HEIGHTxWIDTH"):
        parse_sizes("224,,448")


def test_the_terminal_and_the_page_show_every_size(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = made / "data" / "labels.jsonl"
    assert run("audit", made / "m.onnx", data, "-o", made / "all", "--size", "16,32", "--label-offset", 0) == 0
    said = capsys.readouterr()
    for text in ("16x16", "32x32", "64 cells where 16x16 has 16", "32x32 against 16x16: pointing game"):
        assert text in said.out
    page = (made / "all" / "report.html").read_text()
    assert 'id="sizes"' in page
    assert "64 cells where 16x16 has 16" in page
    assert 'id="sizes"' not in (made / "all" / "32x32" / "report.html").read_text()


def test_check_does_not_judge_by_an_audit_of_another_size(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = made / "policy.toml"
    policy.write_text('schema_version = 1\n[[require]]\nmetric = "top1"\nmin = 0.0\n')
    for out, options, state in (
        ("own", {}, "passed"),
        ("large", {"size": 32}, "not_judged"),
        ("st", {"stitch": 2}, "not_judged"),
    ):
        audited(made, out, **options)
        _, found = run_json(capsys, "check", made / "m.onnx", "--policy", policy, "--audit", made / out)
        assert [rule["state"] for rule in found["rules"]] == [state]


def test_a_digit_model_of_open_size_is_audited_at_two(tmp_path: Path) -> None:

    found = audit(
        SAMPLES / "digits_torch_legacy.onnx", scenes.write_scenes(tmp_path / "d"), tmp_path / "o", size="96,144"
    )
    assert [row.grid for row in found.sizes] == [(12, 12), (18, 18)]
