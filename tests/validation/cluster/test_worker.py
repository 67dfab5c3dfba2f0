"""What a worker finds out before it begins, and how its errors travel; without Ray."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil import GapmilError, ProofError, UnsupportedHeadError, rewrite
from onnx_gapmil.auditing import Request
from onnx_gapmil.lift.verdict import Refusal
from onnx_gapmil.ort import cpu, limits
from onnx_gapmil.rewriting.proof.report import ProofReport
from onnx_gapmil.running.shards import Shard
from onnx_gapmil.validation.cluster.jobs import AuditJob, PredictJob
from onnx_gapmil.validation.cluster.worker import SEEN, Terms, Worker, versions_here
from tests.helpers.scene_data import MODEL, SAMPLES, SCENES, write_scenes


@pytest.fixture
def terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terms:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cpu, "_told", None)
    monkeypatch.setattr(limits, "_settings", replace(limits._settings))
    home = tmp_path / "home"
    home.mkdir()
    (home / SEEN).write_text("seal")
    return Terms(home, "seal", tmp_path, versions_here(), 3, (7.0, 10**9))


def job(tmp_path: Path, **changed: Any) -> AuditJob:
    return AuditJob(Request(**{"model": MODEL, "data": tmp_path, **changed}), tmp_path / "out")


def test_a_worker_that_finds_everything_keeps_to_the_terms(tmp_path: Path, terms: Terms) -> None:
    assert Worker(job(tmp_path), terms).ready() == ""
    assert cpu.thread_count() == 3
    assert limits.limits_set() == (7.0, 10**9)


def test_what_is_in_the_way_is_told(tmp_path: Path, terms: Terms) -> None:
    def said(**changed: Any) -> str:
        return Worker(job(tmp_path), replace(terms, **changed)).ready()

    assert "it has onnx-gapmil" in said(versions=(("onnx-gapmil", "9.9"), versions_here()[1]))
    assert "install the same on all" in said(versions=(versions_here()[0], ("libraries", "numpy 1")))
    assert f"does not see {tmp_path / 'elsewhere'}" in said(home=tmp_path / "elsewhere")
    assert "that all machines share" in said(seal="that of another folder under the same path")
    assert said(folder=tmp_path / "gone") == ""  # all paths are absolute
    missing = Worker(job(tmp_path, model=tmp_path / "gone.onnx"), terms)
    assert f"does not see {tmp_path / 'gone.onnx'}; put models and data where all machines have" in missing.ready()
    relative = Worker(job(tmp_path, model=Path("gone.onnx")), replace(terms, folder=tmp_path / "gone"))
    assert f"it has no folder {tmp_path / 'gone'}, to which paths are relative" in relative.ready()


def test_data_behind_a_url_are_not_looked_for_on_disk(tmp_path: Path, terms: Terms) -> None:
    assert Worker(job(tmp_path, data="s3://bucket/data"), terms).ready() == ""


def test_an_error_of_a_verb_is_an_answer(tmp_path: Path, terms: Terms) -> None:
    worker = Worker(job(tmp_path, data=tmp_path / "none"), terms)
    answer = worker.images()
    assert answer.value is None
    assert "none" in str(answer.error)


def test_a_second_shard_opens_nothing_again(tmp_path: Path, terms: Terms, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_scenes(tmp_path / "data", copies=2)
    worker = Worker(job(tmp_path, data=data, batch=2), terms)
    first = worker.shard(Shard(0, 3), tmp_path / "0")
    assert first.told.done == first.value.done > 0
    assert "running on" in first.told.conditions
    monkeypatch.setattr(sys.modules["onnx_gapmil.auditing.audit"], "classifier_of", None)
    monkeypatch.setattr(sys.modules["onnx_gapmil.auditing.resuming"], "prepare", None)
    assert [worker.shard(Shard(index, 3), tmp_path / str(index)).value.done for index in (1, 2)] == [6, 4]
    assert worker.merge((tmp_path / "1",)).error is not None  # two are missing


def test_a_prediction_says_what_it_decided(tmp_path: Path, terms: Terms) -> None:
    made = PredictJob(MODEL, (str(SCENES),), tmp_path / "out", {"pictures": False})
    answer = Worker(made, terms).shard(Shard(0, 1), tmp_path / "out" / ".ray" / "0")
    assert (answer.value.done, answer.told.done, made.images()) == (8, 8, 8)
    assert "preprocessing  NCHW" in answer.told.conditions


def test_errors_that_carry_what_was_found_can_be_sent() -> None:
    refusal = Refusal("no-spatial-pool", "node", "message", "advice")
    first = pickle.loads(pickle.dumps(UnsupportedHeadError(refusal, {"y": refusal})))  # noqa: S301
    assert (first.refusal, first.refusals) == (refusal, {"y": refusal})
    report = rewrite(MODEL, write=False).proof
    assert isinstance(report, ProofReport)
    second = pickle.loads(pickle.dumps(ProofError("said", report)))  # noqa: S301
    assert (str(second), second.report) == ("said", report)
    assert isinstance(second, GapmilError)
    assert (SAMPLES / "digits_torch_vit.onnx").is_file()
