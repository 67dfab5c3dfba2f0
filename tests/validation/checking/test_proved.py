"""What was proved of a model is found again where nothing changed, and proved anew where anything did."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
from onnx import external_data_helper

from onnx_gapmil.files import cache
from onnx_gapmil.files.hashing import hash_file
from onnx_gapmil.lift.tokens.modes import ClassTokenMode
from onnx_gapmil.rewriting.verbs import rewrite
from onnx_gapmil.validation.checking import proved
from onnx_gapmil.validation.checking.proved import ProvedModel, proved_model
from tests.helpers.verbs import REFUSED, SAMPLES

MODEL = SAMPLES / "digits_torch_legacy.onnx"


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The models that are proved, one after the other; the cache is empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    real, seen = proved._prove, []

    def counted(path: Path, class_token: ClassTokenMode | None) -> tuple[ProvedModel, object]:
        seen.append(path)
        return real(path, class_token)

    monkeypatch.setattr(proved, "_prove", counted)
    return seen


def found(path: Path) -> ProvedModel:
    return proved_model(path, hash_file(path))


def test_it_is_what_rewrite_proves(proofs: list[Path]) -> None:
    (head,) = found(MODEL).heads
    report = rewrite(MODEL, write=False).proof
    assert report is not None
    by_name = {check.name: check.figures["logits"] for check in report.checks}
    assert (head.output, head.verdict, head.places) == ("logits", "exact", True)
    assert head.proofs["sum"].measure == by_name["sum"].measure
    assert head.proofs["place"].passed is True


def test_once_is_enough_and_the_same_is_found_again(proofs: list[Path]) -> None:
    first, second = found(MODEL), found(MODEL)
    assert proofs == [MODEL]
    assert first.heads[0].proofs["sum"].measure == second.heads[0].proofs["sum"].measure
    assert [(head.output, head.verdict, head.places, head.reason) for head in first.heads] == [
        (head.output, head.verdict, head.places, head.reason) for head in second.heads
    ]


def test_another_file_or_version_is_proved_by_itself(
    proofs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.onnx"
    model = onnx.load(MODEL)
    model.producer_name = "somebody else"
    onnx.save(model, other)
    found(MODEL)
    found(other)
    assert proofs == [MODEL, other]
    monkeypatch.setattr(proved, "_versions", lambda: "onnx 99")
    found(MODEL)
    assert proofs == [MODEL, other, MODEL]


def test_other_weights_beside_it_are_proved_anew(proofs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = onnx.load(MODEL)
    external_data_helper.convert_model_to_external_data(model, location="m.data", size_threshold=0)
    onnx.save(model, path)
    found(path)
    found(path)
    assert len(proofs) == 1
    data = bytearray((tmp_path / "m.data").read_bytes())
    data[:4] = b"\0\0\0\0"
    (tmp_path / "m.data").write_bytes(data)
    found(path)
    assert len(proofs) == 2


@pytest.mark.parametrize("text", ["", "garbage", "null", "[]", '{"weights": {}, "heads": [{"output": "logits"}]}'])
def test_what_is_damaged_is_proved_anew(text: str, proofs: list[Path], tmp_path: Path) -> None:
    found(MODEL)
    for path in cache.cache_folder().iterdir():
        path.write_text(text)
    assert found(MODEL).heads
    assert len(proofs) == 2


def test_what_is_refused_is_refused_each_time(proofs: list[Path], tmp_path: Path) -> None:
    path = SAMPLES / f"{REFUSED}.onnx"
    for _ in range(2):
        refusal = found(path).refused
        assert refusal is not None
        assert refusal[0] == "class-token"
    assert len(proofs) == 2


def test_a_rewritten_file_is_what_its_vendors_part_is(proofs: list[Path], tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path / "m.onnx")
    result = rewrite(tmp_path / "m.onnx")
    assert result.output_path is not None
    (ours,), (theirs,) = found(result.output_path).heads, found(MODEL).heads
    assert (ours.output, ours.verdict, ours.places) == (theirs.output, theirs.verdict, theirs.places)
