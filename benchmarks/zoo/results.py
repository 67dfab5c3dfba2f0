"""The cache of ``make_zoo.py``: a JSON line for each case that was run, and with what it was made.

A case counts as done only by the very frameworks, Python, runtime and sources of this package that a run would do it
with: what another state made is neither resumed nor put on the page.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from benchmarks.sources import digest, digest_of_files
from benchmarks.zoo.environments import ROOT, SCRIPTS, installed, named, normal
from onnx_gapmil import __version__

if TYPE_CHECKING:
    from pathlib import Path

#: What lifts and checks beside this package, on the side that runs ``make_zoo.py``.
CHECKED_WITH = ("onnx", "onnxruntime-gpu", "onnxruntime", "onnx-graphsurgeon", "numpy", "protobuf")


@dataclass(frozen=True)
class Results:
    """The file: a JSON line for each case, the last one counts."""

    path: Path

    def read(self, made_with: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """By key: what was done with the same versions and sources."""
        if not self.path.is_file():
            return {}
        lines = self.path.read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.endswith("}")]  # a run may have been stopped within a line
        return {key(row): row for row in rows if row.get("made_with") == made_with}

    def add(self, row: dict[str, Any]) -> None:
        """Append one."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def key(row: dict[str, Any]) -> str:
    """What a case is known by."""
    return f"{row['framework']}/{row['exporter']}/{row['group']}/{row['model']}"


def made_with(framework: str, python: Path) -> dict[str, Any]:
    """All that decides what becomes of a case, the machine aside.

    Returns:
        ``framework``: Python and what its requirements name, with the versions installed; ``environment``: a digest of
        all that is installed there; ``checked``: this package and what it runs on, with versions; ``sources``: a digest
        of the files that export, lift and check.
    """
    packages = installed(python)
    here: dict[str, str] = {"onnx-gapmil": __version__}
    for name in CHECKED_WITH:
        try:
            here[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "framework": {name: packages[normal(name)] for name in (*named(framework), "Python")},
        "environment": digest(f"{name} {version}".encode() for name, version in sorted(packages.items())),
        "checked": {**here, "Python": platform.python_version()},
        "sources": digest_of_files(_sources(framework), ROOT),
    }


def _sources(framework: str) -> list[Path]:
    """Files and folders whose change may change a result."""
    files = [SCRIPTS / f"{name}.py" for name in ("check", "protocol", f"export_{framework}", "torch_common")]
    files += [SCRIPTS / "timm_models.csv"] if framework == "timm" else []
    return [*files, ROOT / "onnx_gapmil", ROOT / "tests" / "references"]
