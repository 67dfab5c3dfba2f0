"""What is rewritten in memory is proved once, and remembered by the file and what it is to give."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnx_gapmil.lift.lifted import UNARRANGED
from onnx_gapmil.rewriting import in_memory
from onnx_gapmil.rewriting.in_memory import rewrite_in_memory
from onnx_gapmil.rewriting.proof import place_proof
from onnx_gapmil.rewriting.proof.looks import AxisLooks
from onnx_gapmil.rewriting.proof.place import PlaceCheck
from onnx_gapmil.rewriting.proof.report import ProofError
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


def test_damaged_memory_is_no_memory(proofs: list[str], folder: Path) -> None:
    rewrite_in_memory(model())
    (path,) = folder.iterdir()
    path.write_text('{"y": {"known": 3}}')
    assert rewrite_in_memory(model()).heads[0].places.known is True
    assert len(proofs) == 2


def test_a_session_has_the_places_that_were_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored = AxisLooks(-1.0, -1.0, 0.0, 0.0, 1.0, 8)
    monkeypatch.setattr(place_proof, "check_places", lambda *_: PlaceCheck(columns=mirrored, runs=68))
    for _ in range(2):  # proved, and remembered
        head = GridSession(model(), provider="cpu").heads[0]
        assert head.places.known is False
        assert UNARRANGED in head.note


@pytest.mark.usefixtures("wrong_lift")
def test_a_wrong_sum_is_not_run() -> None:
    with pytest.raises(ProofError, match="in memory failed its proof"):
        rewrite_in_memory(model())
