"""Clusters of two machines, each played by a Ray node of its own on this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil import audit
from onnx_gapmil.ort import cpu
from tests.helpers.folders import same
from tests.helpers.held import wait_until
from tests.helpers.scene_data import MODEL, write_scenes

# Ray's own threads and sockets warn as they go.
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Of one machine, to which others are added."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("data"), copies=100)


def started(cluster: Any, data: Path, folder: Path, *options: object) -> subprocess.Popen[str]:
    """An audit on the cluster, by its address, in a process that finds the package where it is installed."""
    arguments = [MODEL, data, "-o", folder / "out", "--ray", cluster.address, "--ray-cores", 1, *options]
    return subprocess.Popen(
        [sys.executable, "-m", "onnx_gapmil", "audit", *map(str, arguments)],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_machine_that_is_lost_changes_nothing(
    cluster: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = cluster.add_node(num_cpus=1)
    home = tmp_path / "out" / ".ray"
    home.mkdir(parents=True)
    (home / "plan.json").write_text('{"shards": 2}')  # large ones: neither is done before the machine is lost

    def both_begun() -> bool:
        begun = [each for each in home.glob("*/shard/batches.jsonl") if each.stat().st_size]
        return len(begun) == 2 and not list(home.glob("*/shard.json"))

    with started(cluster, data, tmp_path, "--batch", 1, "--json") as process:
        wait_until(both_begun, process)
        cluster.remove_node(other, allow_graceful=False)
        document, said = process.communicate()
    assert process.returncode == 0, said
    assert json.loads(document)["images"] == 800  # Ray tells nothing on stdout
    assert f"Ray at {cluster.address}: 2 workers, each of 1 core." in said
    assert "another one goes on with it" in said
    monkeypatch.setattr(cpu, "_told", 1)
    audit(MODEL, data, tmp_path / "whole", batch=1)
    assert same(tmp_path / "whole", tmp_path / "out")


def test_a_machine_without_the_package(cluster: Any, data: Path, tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "onnx_gapmil.py").write_text("raise ModuleNotFoundError(\"No module named 'onnx_gapmil'\")\n")
    cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(shadow)})
    with started(cluster, data, tmp_path) as process:
        said = process.communicate()[1]
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith("Error: A machine of the Ray cluster has no onnx-gapmil: install the same")
