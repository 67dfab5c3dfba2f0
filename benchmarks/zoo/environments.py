"""The frameworks' environments: made from the pins in this folder, and what is really installed in each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parents[1]
PLACE = ROOT / ".venv-zoo"
#: By framework: the environment that its script runs in.
FRAMEWORKS = {
    "timm": "torch",
    "torchvision": "torch",
    "transformers": "torch",
    "keras": "keras",
    "paddle": "paddle",
    "jax": "jax",
    "mxnet": "mxnet",
}


def environment(framework: str) -> Path:
    """The interpreter of a framework's environment, which is made if it is not there.

    Raises:
        subprocess.CalledProcessError: it does not install.
    """
    name = FRAMEWORKS[framework]
    folder = PLACE / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pins = _requirements(name)
    wanted = "\n".join(path.read_text("utf-8") for path, _ in pins)
    stamp = folder / ".installed"
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return python
    print(f"Setting up {folder.relative_to(ROOT)} ...", flush=True)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for path, options in pins:
        command = [str(python), "-m", "pip", "install", "--quiet", *options, "--requirement", str(path)]
        subprocess.run(command, check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python


#: What an environment has, as one line of JSON.
_LISTED = """
import importlib.metadata, json, platform
found = {entry.metadata["Name"]: entry.version for entry in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), **found}))
"""


def installed(python: Path) -> dict[str, str]:
    """Python and every package of an environment, the ones that no pin names as well, by `normal` name."""
    listed = subprocess.run([str(python), "-c", _LISTED], check=True, text=True, stdout=subprocess.PIPE)
    return {normal(name): version for name, version in json.loads(listed.stdout).items()}


def normal(name: str) -> str:
    """A package's name as indexes compare it: ``huggingface_hub`` is ``huggingface-hub``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(framework: str) -> list[str]:
    """What a framework's requirements name, in their order."""
    lines = (line for path, _ in _requirements(FRAMEWORKS[framework]) for line in path.read_text("utf-8").splitlines())
    # Extras, as of ``jax[cpu]``, are no part of a package's name.
    return [re.split(r"[\[=]", line, maxsplit=1)[0].strip() for line in lines if "==" in line]


def _requirements(name: str) -> list[tuple[Path, tuple[str, ...]]]:
    """Files of pins that there are, each with pip's options for it."""
    files = [
        (SCRIPTS / f"requirements-{name}.txt", ()),
        (SCRIPTS / f"requirements-{name}-nodeps.txt", ("--no-deps", "--no-build-isolation")),
    ]
    return [(path, options) for path, options in files if path.is_file()]
