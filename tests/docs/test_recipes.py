"""The recipes do what they say: their own lines are run in a repository as they expect it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.compared import lines_of, write_data
from tests.helpers.scene_data import MODEL
from tests.references import in_toto, junit_schema
from tools.quantized import quantize

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "docs" / "recipes"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a model that is there, a candidate, labelled photos and a policy that the candidate meets."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "models").mkdir()
    for ending in ("onnx", "labels.txt", "preprocess.json"):
        shutil.copy(MODEL.with_name(f"{MODEL.stem}.{ending}"), folder / "models" / f"current.{ending}")
    write_data(folder / "data")
    photos = [folder / "data" / line["image"] for line in lines_of(folder / "data")]
    quantize(folder / "models" / "current.onnx", photos[:8], folder / "models" / "candidate.onnx")
    policy = (RECIPES / "gapmil.toml").read_text("utf-8").replace("min = 0.40", "min = 0.0")
    policy = policy.replace("min_images = 100\n", "").replace("max_drop = 0.05", "max_drop = 0.5")
    (folder / "gapmil.toml").write_text(policy.replace("max = 0.10", "max = 0.5").replace("min = -0.20", "min = -1.0"))
    return folder


def command_of(file: str) -> list[str]:
    """The one line with our command, its continuations joined."""
    text = (RECIPES / file).read_text("utf-8").replace("\\\n", " ")
    text = re.sub(
        r">-\n((?:\s+\S.*\n)+?)(?=\s*(?:- |artifacts))", lambda found: " ".join(found[1].split()) + "\n", text
    )
    (line,) = re.findall(r"^\s*(?:- run: |- )?(onnx-gapmil check .*)$", text, re.MULTILINE)
    return shlex.split(line)


@pytest.mark.parametrize("file", ["github-actions.yml", "gitlab-ci.yml", "Jenkinsfile"])
def test_the_command_of_each_pipeline_runs_and_leaves_its_files(file: str, repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    shutil.copytree(repository, folder)
    command = [sys.executable, "-m", "onnx_gapmil", *command_of(file)[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert junit_schema.problems((folder / "gapmil.xml").read_bytes()) == []
    assert in_toto.problems(json.loads((folder / "gapmil.intoto.json").read_text("utf-8"))) == []
    assert (folder / "gapmil_check" / "compare" / "report.html").is_file()
    text = (RECIPES / file).read_text("utf-8")
    assert "gapmil.xml" in text.split("onnx-gapmil check")[1]


def test_the_deployment_step_shelves_a_proved_model_with_its_certificate(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    shutil.copytree(repository, folder)
    command = [sys.executable, str(RECIPES / "deploy.py")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (folder / "shelf").iterdir()} == {
        "candidate.onnx",
        "candidate.gapmil.onnx",
        "candidate.cert.json",
    }
    (folder / "gapmil.toml").write_text((folder / "gapmil.toml").read_text("utf-8").replace("min = 0.0", "min = 0.99"))
    shutil.rmtree(folder / "shelf")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert not (folder / "shelf").exists()


def test_the_images_install_what_the_project_needs() -> None:
    import tomllib

    needed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    plain = {entry.replace(" ", "") for entry in needed if ";" not in entry}
    text = (RECIPES / "Dockerfile").read_text("utf-8")
    assert plain <= set(re.findall(r'"([^"]+)"', text))
    cpu = next(entry for entry in needed if entry.startswith("onnxruntime>="))
    assert cpu.split(";")[0] in text


def test_the_hooks_name_commands_that_there_are() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text("utf-8")
    for entry in re.findall(r"entry: onnx-gapmil (\w+)", text):
        done = subprocess.run([sys.executable, "-m", "onnx_gapmil", entry, "--help"], capture_output=True, check=False)
        assert done.returncode == 0
