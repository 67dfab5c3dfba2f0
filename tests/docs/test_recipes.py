"""The recipes do what they say: their own lines are run in a repository as they expect it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from onnx_gapmil import audit
from tests.helpers.compared import lines_of, write_data
from tests.helpers.scene_data import MODEL, write_scenes
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


_BASH = ["/usr/bin/env", "bash"]
#: GNU parallel as far as the recipe uses it: each job once, one after the other, {} replaced.
_PARALLEL = """
import subprocess, sys
command, items = sys.argv[3:sys.argv.index(":::")], sys.argv[sys.argv.index(":::") + 1 :]
assert sys.argv[1:3] == ["--jobs", "1"]
sys.exit(max(subprocess.run([word.replace("{}", item) for word in command]).returncode for item in items))
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with a model, labelled photos and the whole audit of them, and an environment with our program."""
    folder = tmp_path_factory.mktemp("machine")
    for ending in ("onnx", "labels.txt", "preprocess.json"):
        shutil.copy(MODEL.with_name(f"{MODEL.stem}.{ending}"), folder / f"model.{ending}")
    data = write_scenes(folder / "data", copies=6)
    audit(folder / "model.onnx", data.parent, folder / "results" / "unsharded", batch=16)
    programs = {"onnx-gapmil": "from onnx_gapmil.cli import main\nimport sys\nsys.exit(main())", "parallel": _PARALLEL}
    (folder / "bin").mkdir()
    for name, text in programs.items():
        (folder / "bin" / name).write_text(f"#!{sys.executable}\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return folder, {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


def require_whole(folder: Path, parts: str, env: dict[str, str]) -> None:
    """Make sure that the parts in a folder make the audit that was never divided."""
    if not (folder / parts / "whole").exists():
        merge = f"onnx-gapmil merge {folder / parts}/part-* -o {folder / parts}/whole"
        subprocess.run([*_BASH, "-c", merge], env=env, check=True, capture_output=True)
    for name in ("summary.json", "images.parquet", "report.html"):
        assert (folder / parts / "whole" / name).read_bytes() == (folder / "results/unsharded" / name).read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="the recipes are for bash")
def test_the_slurm_array_measures_all_parts(machine: tuple[Path, dict[str, str]]) -> None:
    folder, env = machine
    script = RECIPES / "slurm-array.sh"
    assert "#SBATCH --array=0-7" in script.read_text("utf-8")
    arguments = [folder / "model.onnx", folder / "data", folder / "slurm"]
    for index in range(2):  # Slurm says how many tasks there are
        task = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_COUNT": "2"}
        subprocess.run([*_BASH, script, *arguments], env={**env, **task}, check=True, capture_output=True)
    require_whole(folder, "slurm", env)


@pytest.mark.skipif(os.name != "posix", reason="the recipes are for bash")
def test_the_indexed_job_measures_all_parts(machine: tuple[Path, dict[str, str]]) -> None:
    folder, env = machine
    job = yaml.safe_load((RECIPES / "kubernetes-job.yml").read_text("utf-8"))
    assert job["spec"]["completionMode"] == "Indexed"
    completions = job["spec"]["completions"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (command,) = container["args"]
    assert f"--shard $JOB_COMPLETION_INDEX/{completions}" in command
    command = command.replace("/work/results", "OUT/kubernetes").replace("/work", "OUT").replace("OUT", str(folder))
    command = command.replace(f"INDEX/{completions}", "INDEX/2")  # each part is a process: fewer of them do as well
    for index in range(2):
        job_env = {**env, "JOB_COMPLETION_INDEX": str(index)}
        subprocess.run([*container["command"], command], env=job_env, check=True, capture_output=True)
    require_whole(folder, "kubernetes", env)


@pytest.mark.skipif(os.name != "posix", reason="the recipes are for bash")
def test_gnu_parallel_measures_all_parts_and_merges(machine: tuple[Path, dict[str, str]]) -> None:
    folder, env = machine
    arguments = [folder / "model.onnx", folder / "data", folder / "parallel", "3"]
    subprocess.run([*_BASH, RECIPES / "parallel.sh", *arguments], env=env, check=True, capture_output=True)
    require_whole(folder, "parallel", env)
