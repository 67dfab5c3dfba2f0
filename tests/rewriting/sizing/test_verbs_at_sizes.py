"""`rewrite`, `verify`, `inspect` and `predict` of a model at another size than its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from onnx_gapmil import Classifier, GridSession, Preprocess, predict, repool, rewrite, verify
from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.sizing.record import SIZE_KEY, size_of
from tests.helpers import sized
from tests.helpers.verbs import run, run_json

OLD, NEW = (16, 24), (32, 48)


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    path = tmp_path / "vendor.onnx"
    onnx.save(sized.model("channel shuffle", *OLD), path)
    recipe = {"layout": "NCHW", "color": "RGB", "size": list(OLD), "resize": "shortest", "crop": 0.5}
    recipe |= {"interpolation": "bilinear-antialias", "scale": 1 / 255, "dtype": "float32"}
    (tmp_path / "vendor.preprocess.json").write_text(json.dumps(recipe))
    return path


def test_a_file_rewritten_at_a_size_is_verified_against_the_vendors(vendor: Path, tmp_path: Path) -> None:
    made = tmp_path / "large.onnx"
    certificate = tmp_path / "c.json"
    found = rewrite(vendor, made, size=NEW, certificate=certificate)
    assert found.to_json()["size"]["original"] == list(OLD)
    assert verify(vendor, made).passed
    assert verify(certificate=certificate, original=vendor, rewritten=made).passed
    assert rewrite(made).unchanged
    session = GridSession(made)
    assert session.heads[0].grid_shape[2:] == (8, 12)
    x = sized.photos(*NEW)
    expected = sized.by_reference(sized.model("channel shuffle", *NEW), x)
    np.testing.assert_allclose(session.run(x)[0].logits, expected, rtol=1e-4, atol=1e-5)


def test_a_file_that_lies_about_its_size_is_found_out(vendor: Path, tmp_path: Path) -> None:
    made = tmp_path / "large.onnx"
    rewrite(vendor, made, size=NEW)
    proto = onnx.load(made)
    entry = next(entry for entry in proto.metadata_props if entry.key == SIZE_KEY)
    said = json.loads(entry.value)
    said["changes"] = []
    entry.value = json.dumps(said)
    onnx.save(proto, made)
    with pytest.raises(ModelError, match="not what opening"):
        verify(vendor, made)


def test_photos_are_cropped_to_the_same_piece_at_every_size(vendor: Path) -> None:
    small, large = Classifier(vendor), Classifier(vendor, size="32x48")
    assert small.preprocess.preprocess.size == OLD
    assert large.preprocess.preprocess.size == NEW
    assert "for 48x32 (width x height) as asked for" in large.preprocess.source
    same = {key: value for key, value in large.preprocess.preprocess.to_json().items() if key != "size"}
    assert same == {key: value for key, value in small.preprocess.preprocess.to_json().items() if key != "size"}
    pixels = np.zeros((100, 150, 3), np.uint8)
    pieces = []
    for model in (small, large):
        geometry = model.preprocess.preprocess.apply(pixels)[1]
        height, width = model.preprocess.preprocess.size
        pieces.append([*geometry.to_image(0, 0), *geometry.to_image(width, height)])
    assert pieces[0] == pytest.approx(pieces[1], abs=1.0)


def test_a_preprocessing_that_is_given_is_for_the_size_that_is_asked_for(vendor: Path) -> None:
    given = Preprocess.from_json({"layout": "NCHW", "color": "BGR", "size": [16, 24], "scale": 1, "dtype": "float32"})
    used = Classifier(vendor, size=NEW, preprocess=given).preprocess.preprocess
    assert (used.size, used.color) == (NEW, "BGR")


def test_a_rewritten_file_of_a_size_takes_the_vendors_preprocessing(vendor: Path) -> None:
    rewrite(vendor, vendor.with_name("vendor.gapmil.onnx"), size=NEW)
    used = Classifier(vendor.with_name("vendor.gapmil.onnx")).preprocess.preprocess
    assert (used.size, used.crop) == (NEW, 0.5)


def test_a_file_of_a_size_is_repooled_and_keeps_it(
    vendor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large, pooled, back = (tmp_path / f"{name}.onnx" for name in ("large", "pooled", "back"))
    rewrite(vendor, large, size=NEW)
    record = size_of(load_model(large).metadata)
    assert record is not None
    assert repool(large, "max", pooled).to_json()["size"] == record.to_json()
    given = Preprocess.from_json({"layout": "NCHW", "color": "BGR", "size": list(OLD), "scale": 1, "dtype": "float32"})
    assert Classifier(pooled, preprocess=given).preprocess.preprocess.size == NEW
    x = sized.photos(*NEW)
    cells = GridSession(large).run(x)[0].grid
    assert cells is not None
    np.testing.assert_allclose(GridSession(pooled).run(x)[0].logits, cells.max((2, 3)), rtol=1e-5, atol=1e-6)
    assert run("repool", pooled, "--with", "mean", "-o", back) == 0
    assert "the vendor's graph, opened for 32x48 pixels, again" in capsys.readouterr().out
    assert size_of(load_model(back).metadata) == record
    rewrite(back, tmp_path / "again.onnx")
    assert verify(vendor, tmp_path / "again.onnx").passed


POOLS = {
    "max": "max",
    "prob_mean": "prob_mean",
    "fitted topk": FittedPool(
        "calibrated", (Aggregator("topk", 0.1),), {"scale": np.array([1.5]), "bias": np.arange(5)}
    ),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_repooled_file_is_opened_as_the_vendors_is_and_pooled_again(name: str, vendor: Path, tmp_path: Path) -> None:
    """It was refused; opening the vendor's first and repooling that gives the same numbers."""
    small, large, wanted = (tmp_path / f"{part}.onnx" for part in ("small", "large", "wanted"))
    repool(vendor, POOLS[name], small)
    rewrite(vendor, large, size=NEW)
    repool(large, POOLS[name], wanted)
    found = Classifier(small, size=NEW)
    assert found.rewrite.size == size_of(load_model(large).metadata)
    assert found.head.pool == GridSession(wanted).heads[0].pool
    x = sized.photos(*NEW)
    mine, theirs = found.session.run(x)[0], GridSession(wanted).run(x)[0]
    np.testing.assert_array_equal(mine.logits, theirs.logits)
    assert mine.grid is not None
    np.testing.assert_array_equal(mine.grid, theirs.grid)
    assert Classifier(small, size=OLD).rewrite.size is None


def test_a_file_of_a_size_is_repooled_and_verified_against_the_repooled_file(vendor: Path, tmp_path: Path) -> None:
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    repool(vendor, "max", small)
    rewrite(small, large, size=NEW)
    assert verify(small, large).passed


def test_weights_that_were_fitted_to_positions_are_of_one_size(vendor: Path, tmp_path: Path) -> None:
    arrays = {"scale": np.ones(1), "bias": np.zeros(5), "positions": np.full((OLD[0] // 4, OLD[1] // 4), 1 / 24)}
    repool(vendor, FittedPool("flex", (), arrays), tmp_path / "flex.onnx")
    with pytest.raises(InputError, match="it weighs a grid of 4 x 6 cells, and the model's is another") as caught:
        Classifier(tmp_path / "flex.onnx", size=NEW)
    assert str(caught.value).startswith("--size 32x48: ")
    assert str(caught.value).endswith(
        "take the pool out (repool --with mean), open that (rewrite --size), and fit again."
    )


@pytest.mark.parametrize("aggregator", ["max", "mean"])
def test_a_file_of_a_size_is_not_opened_for_another(vendor: Path, tmp_path: Path, aggregator: str) -> None:
    large = tmp_path / "large.onnx"
    rewrite(vendor, large, size=NEW)
    repool(large, "max", tmp_path / "max.onnx")
    kept = tmp_path / "kept.onnx"
    repool(large if aggregator == "max" else tmp_path / "max.onnx", aggregator, kept)
    with pytest.raises(ModelError, match="give the vendor's original"):
        Classifier(kept, size=(48, 48))
    assert Classifier(kept, size=NEW).head.grid_shape[2:] == (8, 12)


def test_predict_says_the_size_and_gives_its_grid(
    vendor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "p.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(photo)
    code, found = run_json(capsys, "predict", vendor, photo, "-o", tmp_path / "o", "--size", "32x48", "--no-pictures")
    assert code == 0
    assert found["size"]["size"] == list(NEW)
    assert found["stitch"] is None
    assert found["images"][0]["heads"][0]["grid_shape"] == [8, 12]
    plain = predict(vendor, photo).images[0].heads[0]
    fine = predict(vendor, photo, stitch=2)
    head = fine.images[0].heads[0]
    assert head.grid is not None
    assert head.grid.shape == (5, 8, 12)
    np.testing.assert_array_equal(head.logits, plain.logits)
    assert fine.summary["stitch"]["factor"] == 2


def test_stitched_grids_are_saved_and_reductions_refused(
    vendor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "p.png"
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(photo)
    out = tmp_path / "o"
    assert run("predict", vendor, photo, "-o", out, "--stitch", 2, "--save", "npz") == 0
    assert np.load(out / "p.npz")["grid"].shape == (5, 8, 12)
    assert run("predict", vendor, photo, "-o", tmp_path / "o2", "--stitch", 2, "--emit", "topk:3") == 2
    assert "put together outside of the graph" in capsys.readouterr().err
    assert not (tmp_path / "o2").exists()


def test_inspect_says_what_was_changed(vendor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run_json(capsys, "inspect", vendor, "--size", "32x48")
    assert code == 0
    assert len(found["size"]["changes"]) == 2
    assert found["heads"][0]["grid_size"] == [8, 12]
    assert run("inspect", vendor, "--size", "32x48") == 0
    assert "where the graph fixes 16x24; at that size the opened graph gives the vendor's outputs bit for bit" in (
        " ".join(capsys.readouterr().out.split())
    )


@pytest.mark.parametrize("verb", ["inspect", "rewrite", "predict", "audit", "bench", "compare"])
def test_a_trunk_that_forbids_it_is_one_sentence_and_writes_nothing(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "g = Add(m, pos)  p = GlobalAveragePool(g)"
    model = tmp_path / "m.onnx"
    onnx.save(sized.built(body, *OLD, pos=np.ones((1, 8, 4, 6), np.float32)), model)
    photo = tmp_path / "p.png"
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(photo)
    (tmp_path / "labels.jsonl").write_text('{"image": "p.png", "label": 1}\n')
    places = {"predict": [photo], "audit": [tmp_path / "labels.jsonl"], "compare": [model, tmp_path / "labels.jsonl"]}
    out = [] if verb in ("inspect", "bench") else ["-o", tmp_path / "out"]
    before = sorted(tmp_path.rglob("*"))
    assert run(verb, model, *places.get(verb, []), *out, "--size", "32x48") == 2
    said = capsys.readouterr().err
    assert "'pos' of shape [1, 8, 4, 6]" in said
    assert "Traceback" not in said
    assert sorted(tmp_path.rglob("*")) == before


def test_compare_holds_a_model_against_itself_at_another_size(
    vendor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in range(3):
        pixels = np.random.default_rng(place).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"p{place}.png")
    code, found = run_json(
        capsys, "compare", vendor, vendor, tmp_path / "*.png", "--unlabelled", "-o", tmp_path / "o",
        "--size-new", "32x48", "--stitch", 2,
    )  # fmt: skip
    assert code == 0
    old, new = found["models"]["old"], found["models"]["new"]
    assert (old["size"], old["stitch"], old["grid_shape"][2:]) == (None, 2, [8, 12])
    assert (new["size"]["size"], new["stitch"], new["grid_shape"][2:]) == (list(NEW), 2, [16, 24])
    assert found["same"] is False


def test_bench_measures_at_a_size_that_the_graph_does_not_fix(vendor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run_json(
        capsys, "bench", vendor, "--size", "32x48", "--seconds", "0.1", "--no-memory", "--batch", "1", "--emit", "grid"
    )
    assert code == 0
    assert found["series"][0]["size_source"] == "as asked for"


def test_a_stitch_of_three_is_refused(vendor: Path) -> None:
    with pytest.raises(InputError, match="--stitch 3"):
        Classifier(vendor, stitch=3)
