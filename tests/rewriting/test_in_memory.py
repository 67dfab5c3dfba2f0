"""What is rewritten in memory is proved once, and remembered by the file and what it is to give."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from onnx_gapmil.lift.lifted import UNARRANGED
from onnx_gapmil.rewriting import in_memory
from onnx_gapmil.rewriting.in_memory import rewrite_in_memory
from onnx_gapmil.rewriting.proof import place_proof
from onnx_gapmil.rewriting.proof.looks import AxisLooks
from onnx_gapmil.rewriting.proof.place_check import PlaceCheck
from onnx_gapmil.rewriting.proof.report import ProofError
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.running.grid_session import GridSession
from tests.helpers.support import text_model, weights


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "onnx-gapmil"


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each model that was proved."""
    found: list[str] = []
    real = in_memory.prove

    def counted(*args: object, **kwargs: object) -> object:
        found.append("proved")
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(in_memory, "prove", counted)
    return found


def model(seed: int = 0) -> onnx.ModelProto:
    body = "c = Conv<strides=[4,4]>(x, k)\n p = GlobalAveragePool(c)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"
    init = {"k": weights(6, 3, 4, 4, seed=seed), "w": weights(5, 6), "b": weights(5)}
    return text_model(body, x="float[N,3,32,32] x", init=init)


def test_a_model_is_proved_once(proofs: list[str]) -> None:
    first, second = (rewrite_in_memory(model()) for _ in range(2))
    assert len(proofs) == 1
    assert first.heads == second.heads
    assert first.heads[0].places.measured["rows"]["sign"] == 1


def test_another_model_and_other_emissions_are_proved_by_themselves(proofs: list[str]) -> None:
    rewrite_in_memory(model())
    rewrite_in_memory(model(1))
    rewrite_in_memory(model(), emit="grid")
    assert len(proofs) == 3


def test_it_is_said_what_was_proved_when_and_how_long_it_took() -> None:
    first, second = (GridSession(model(), provider="cpu").proof for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.cached, second.cached) == (False, True)
    assert first.seconds == second.seconds > 0
    assert (first.sums, first.places) == (second.sums, second.places)
    claim = (
        r"sum of each class's cells to \d\.\de-\d+ \(allowed 2e-05\); places by stripes of the image: rows to 0\.\d+, "
    )
    assert re.fullmatch(claim + r"columns to 0\.\d+ cells; proved now, in (less than )?\d+\.\d s", first.describe())
    assert re.fullmatch(
        claim + r"columns to 0\.\d+ cells; proved by an earlier run, in (less than )?\d+\.\d s", second.describe()
    )
    found = second.to_json()
    assert set(found) == {"sum", "place", "cached", "seconds"}
    assert set(found["sum"]) == set(found["place"]) == {"passed", "measure", "allowed", "skipped"}
    assert (found["sum"]["passed"], found["place"]["passed"], found["cached"]) == (True, True, True)


def test_what_was_not_run_is_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = in_memory.rewrite_model

    def giant(*args: object, **kwargs: object) -> Rewrite:
        made = real(*args, **kwargs)  # type: ignore[arg-type]
        assert made.trace is not None
        return replace(made, trace=replace(made.trace, measured=False))

    monkeypatch.setattr(in_memory, "rewrite_model", giant)
    found = rewrite_in_memory(model()).remembered
    assert found is not None
    assert (found.sum.passed, found.place.passed) == (None, None)
    assert found.describe() == f"not run: {place_proof.TOO_LARGE}"


def test_weights_in_another_file_that_changed_are_proved_anew(proofs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for seed in (0, 1):  # the graph's own bytes stay the same
        (tmp_path / "w.bin").unlink(missing_ok=True)
        onnx.save(model(seed), path, save_as_external_data=True, location="w.bin", size_threshold=100)
        rewrite_in_memory(path)
    rewrite_in_memory(path)
    assert len(proofs) == 2


def test_damaged_memory_is_no_memory(proofs: list[str], folder: Path) -> None:
    rewrite_in_memory(model())
    (path,) = folder.iterdir()
    path.write_text('{"seconds": 1, "heads": {"y": {"known": 3}}}')
    assert rewrite_in_memory(model()).heads[0].places.known is True
    assert len(proofs) == 2


def test_a_session_has_the_places_that_were_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored = AxisLooks(-1.0, -1.0, 0.0, 0.0, 1.0, 8)
    monkeypatch.setattr(place_proof, "check_places", lambda *_, **__: PlaceCheck(columns=mirrored, runs=68))
    for _ in range(2):  # proved, and remembered
        session = GridSession(model(), provider="cpu")
        head = session.heads[0]
        assert head.places.known is False
        assert UNARRANGED in head.note
        assert session.proof is not None
        assert "places are not known: stripes of the image contradict them" in session.proof.claim
        assert session.proof.place.passed is False


@pytest.mark.usefixtures("wrong_lift")
def test_a_wrong_sum_is_not_run() -> None:
    with pytest.raises(ProofError, match="in memory failed its proof"):
        rewrite_in_memory(model())
