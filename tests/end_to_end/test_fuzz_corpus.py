"""What the fuzzer once found stays mended, and its cases can be drawn again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import onnx
import pytest

from tools import fuzz
from tools.fuzz import corpus, make_case
from tools.mutations import mutated_bytes, mutated_model, mutated_text

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz_corpus"


@pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer forks, and reads /proc")
def test_what_once_failed_ends_as_it_should() -> None:
    command = [sys.executable, "-m", "tools.fuzz", "--corpus", str(CORPUS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("as it should") == len(list(corpus(CORPUS))) > 20


@pytest.mark.parametrize("number", range(12))
def test_a_case_is_drawn_again_from_its_seed_and_number(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # These two run the program to have something to mutate.
    monkeypatch.setattr(fuzz, "_made", dict.fromkeys(fuzz.MODELS, (CORPUS / "names_of_the_trace/m.onnx").read_bytes()))
    monkeypatch.setattr(fuzz, "_journal", {"batches.jsonl": b"0\n", "settings.json": b"{}"})
    one, other = tmp_path / "one", tmp_path / "other"
    drawn = []
    for folder in (one, other):
        folder.mkdir()
        case = make_case(7, number, folder)
        drawn.append((case, {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}))
    assert drawn[0] == drawn[1]


def drawn(seed: int) -> Random:
    return Random(seed)  # noqa: S311  (replayable, and no secret)


def test_mutations_change_what_they_are_given() -> None:
    model = (ROOT / "sample_models" / "digits_torch_legacy.onnx").read_bytes()
    seeds = range(30)
    assert sum(mutated_bytes(model, drawn(seed)) != model for seed in seeds) > 25
    assert sum(mutated_text("image,label\na.png,3\n", drawn(seed)) != "image,label\na.png,3\n" for seed in seeds) > 20
    changed = [mutated_model(model, drawn(seed)) for seed in seeds]
    assert sum(data != model for data in changed) > 20
    assert all(isinstance(onnx.ModelProto.FromString(data), onnx.ModelProto) for data in changed)
