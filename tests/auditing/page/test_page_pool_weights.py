"""The weights of a pool on the page: a map with sign, zeros and scale beside the images; none for a plain mean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnx_gapmil.auditing.page import Report, render_report
from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.rewriting.verbs import rewrite
from onnx_gapmil.show.drawing.palette import diverging
from tests.helpers import audited_reports, scene_data
from tests.helpers.html_elements import Elements
from tests.helpers.report_pages import with_summary
from tests.helpers.support import text_model, weights

PLACES = weights(6, 6)
PLACES[0, :2] = 0, -2.5


def weighted_model(folder: Path) -> Path:
    """Pixels averaged to 6 x 6, weighed by position, and a dense layer."""
    body = (
        "a = AveragePool<kernel_shape=[16, 16], strides=[16, 16]>(x)\n q = Mul(a, v)\n"
        " f = ReduceMean<axes=[2, 3], keepdims=0>(q)\n y = Gemm<transB=1>(f, w)"
    )
    init = {"v": PLACES, "w": weights(10, 3)}
    return audited_reports.saved(text_model(body, x="float[N,3,96,96] x", y="float[N,10] y", init=init), folder)


def test_the_audits_page_and_summary_have_the_weights_that_the_file_has(tmp_path: Path) -> None:
    model = weighted_model(tmp_path)
    rewritten = tmp_path / "again" / "model.onnx"
    rewritten.parent.mkdir()
    rewrite(model, output=rewritten)
    rewritten.with_suffix(".preprocess.json").write_bytes(model.with_suffix(".preprocess.json").read_bytes())
    for path in (model, rewritten):
        report = audited_reports.audited(path.parent, path, scene_data.SCENES)
        (pool,) = json.loads(json.dumps(report.summary.to_json()))["head"]["pool_weights"]
        np.testing.assert_allclose(pool["map"], PLACES, rtol=1e-6)
        assert pool["below_zero"] == (PLACES < 0).mean()
        page = Elements(render_report(report))
        text = page.text.replace("\u00a0", " ")
        assert f"least {PLACES.min():.3g} and largest {PLACES.max():.3g} of a plain mean's weight" in text
        assert "weight of each cell; 1 is a plain mean’s" in text
        assert "exactly 0" in text
        rects = [found for tag, found in page.found if tag == "rect" and found.get("width") == "1"]
        assert len(rects) == 36
        most = np.abs(PLACES).max()
        colours = [f"#{diverging(np.array(value / most)).tobytes().hex()}" for value in PLACES.ravel()]
        assert [rect.get("fill") for rect in rects] == [None, *colours[1:]]
        assert rects[0]["class"] == "no-weight"
        signs = [found for tag, found in page.found if tag == "rect" and found.get("height") == "0.12"]
        assert len(signs) == (PLACES < 0).sum()
        assert f"row 0, column 1: {PLACES[0, 1]:.3g}" in text


def with_pool(report: Report, *pools: WeightedPool) -> Report:
    return with_summary(report, head=replace(report.summary.head, pool_weights=pools))


def test_a_plain_mean_has_no_weights_on_its_page(digits: Report) -> None:
    assert digits.summary.head.pool_weights == ()
    assert "pool-weights" not in render_report(digits).split("</style>")[-1]


def test_weights_without_a_map_of_these_cells_are_said_and_not_drawn(digits: Report) -> None:
    said = WeightedPool("<p> (MatMul)", "position", 1, -1.0, 2.0, 0.5, (1.0, 1.0), ((1.0, 2.0),))
    text = render_report(with_pool(digits, said, WeightedPool("a (MatMul)", "image"))).split("</style>")[-1]
    assert "pool-weights" not in text.split("<script")[0]
    assert "&lt;p&gt; (MatMul): by position: least -1 and largest 2" in text
    assert "a (MatMul): made anew by each image: there is no fixed map of them." in text


def test_a_scale_of_weights_that_are_never_below_0_begins_at_0(digits: Report) -> None:
    rows = tuple((0.5,) * 11 + (2.0,) for _ in range(12))
    pool = WeightedPool("p (Conv)", "position and channel", 64, -0.25, 3.0, 0.5, (0.75, 1.5), rows)
    text = Elements(render_report(with_pool(digits, pool))).text
    assert "mean over 64 channels of the weight of each cell" in text
    assert "sum 0.75 to 1.5" in text
    assert "dash in a cell" not in text
    assert "exactly 0" not in text


def test_a_pool_that_was_fitted_over_the_cells_is_said_to_be_none_of_them(digits: Report) -> None:
    own = WeightedPool("p (Conv)", "position", 1, 0.5, 2.0, 0.0, (1.0, 1.0), ((0.5,) * 12,) * 12)
    inside = Elements(render_report(with_pool(digits, own))).text
    assert "The maps of the images have these weights in them." in inside
    over = Elements(render_report(with_pool(digits, replace(own, in_cells=False)))).text
    assert "have these weights in them" not in over
    assert "are the vendor’s cells, without these weights; the model’s answers weigh them so." in over
