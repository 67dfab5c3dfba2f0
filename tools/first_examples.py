"""Run the first example of every page as it is printed, as somebody would who has installed the package and copies it.

``python -m tools.first_examples PYTHON`` runs them by the onnx-gapmil beside that Python, in folders of their own that
hold what the pages take for granted: ``model.onnx`` with names and preprocessing, ``photos/``, ``labelled_photos/``,
``data/`` with boxes, ``vit.onnx``, a model of signals. ``make release`` does it with the wheel in a fresh environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx.parser

from tools.quantized import quantize

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "sample_models"
MODEL = SAMPLES / "digits_torch_legacy.onnx"
_BLOCK = re.compile(r"^ *```(\S*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SIGNALS = """<ir_version: 8, opset_import: ["" : 17]>
heart (float[N, 1, 400] ecg) => (float[N, 3] y) {
  a = Conv <kernel_shape = [9], strides = [4], pads = [4, 4]> (ecg, w)
  b = Relu(a)
  c = GlobalAveragePool(b)
  d = Flatten(c)
  y = Gemm <transB = 1> (d, v)
}"""


@dataclass(frozen=True)
class Example:
    """The first example of a page.

    Attributes:
        page: relative to the repository.
        language: ``sh`` or ``python``.
        code: commands, one a line; or a script.
    """

    page: str
    language: str
    code: str


def pages() -> list[Path]:
    """The README and every page of the site but what is made from code or measured elsewhere."""
    docs = ROOT / "docs"
    found = [path for path in sorted(docs.rglob("*.md")) if "_build" not in path.parts]
    left_out = {docs / "benchmarks", docs / "measures", docs / "project"}  # the checks of measures are run by a test
    return [ROOT / "README.md", *(path for path in found if not left_out & set(path.parents))]


def first_example(page: Path) -> Example | None:
    """The first block that calls the program or its library; None where a page has none."""
    name = page.relative_to(ROOT).as_posix()
    for language, text in _BLOCK.findall(page.read_text("utf-8")):
        if language == "python" and "onnx_gapmil" in text:
            return Example(name, "python", text)
        lines = [line.strip().removeprefix("$ ") for line in text.splitlines() if _is_call(line, language)]
        if lines:
            return Example(name, "sh", "\n".join(lines))
    return None


def _is_call(line: str, language: str) -> bool:
    """Whether a line of a block is typed: behind a prompt where outputs are shown, too."""
    return line.strip().startswith("$ onnx-gapmil " if language in ("", "console") else "onnx-gapmil ")


def prepare(folder: Path) -> None:
    """Lay out what the pages take for granted."""
    scenes = json.loads((SAMPLES / "scenes" / "scenes.json").read_text("utf-8"))
    shutil.copytree(SAMPLES, folder / "sample_models")
    for name in ("photos", "recordings", "models", "demo_output"):
        (folder / name).mkdir()
    for data in (folder / "data", folder / "demo_output" / "scenes"):
        shutil.copytree(SAMPLES / "scenes", data)
    for scene in scenes:
        own = folder / "labelled_photos" / f"{scene['label']}"
        own.mkdir(parents=True, exist_ok=True)
        for target in (own, folder / "photos"):
            shutil.copy(SAMPLES / "scenes" / scene["image"], target)
    for source, name in ((MODEL, "model"), (SAMPLES / "digits_torch_vit.onnx", "vit")):
        for end in (".onnx", ".preprocess.json", ".labels.txt"):
            if source.with_suffix(end).is_file():
                shutil.copy(source.with_suffix(end), folder / f"{name}{end}")
    shutil.copy(MODEL.with_suffix(".preprocess.json"), folder / "preprocess.json")
    shutil.copy(MODEL.with_suffix(".labels.txt"), folder / "names.txt")
    quantize(MODEL, sorted((folder / "photos").iterdir())[:4], folder / "models" / "dim.onnx", light=0.35)
    for name in ("digits_int8.onnx", "digits_int8.labels.txt", "digits_int8.preprocess.json"):
        shutil.copy(folder / "models" / f"dim{name.removeprefix('digits_int8')}", folder / name)
    draw = np.random.default_rng(0)
    for index in range(3):
        np.save(folder / "recordings" / f"{index}.npy", draw.normal(size=(1, 400)).astype(np.float32))
    signals = onnx.parser.parse_model(_SIGNALS)
    for name, shape in (("w", (8, 1, 9)), ("v", (3, 8))):
        values = draw.normal(size=shape).astype(np.float32)
        signals.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    (folder / "ecg.onnx").write_bytes(signals.SerializeToString())


def run_all(python: Path, told: Callable[[str], None]) -> list[str]:
    """Run the first example of every page; returns a sentence for each that fails.

    Args:
        python: of the environment that the package is installed in.
        told: takes a line for each page.
    """
    failed = []
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV", "DISPLAY")}
    env["PATH"] = f"{python.parent}{os.pathsep}{env.get('PATH', '')}"
    env["PYTHONWARNINGS"] = "error::SyntaxWarning"
    for page in pages():
        example = first_example(page)
        if example is None:
            continue
        with tempfile.TemporaryDirectory() as name:
            prepare(Path(name))
            env["XDG_CACHE_HOME"] = f"{name}/cache"
            why = _run(example, python, Path(name), env)
        told(f"{example.page}: {'runs' if why is None else 'FAILS'}")
        if why is not None:
            failed.append(f"{example.page}: {why}")
    return failed


def _run(example: Example, python: Path, folder: Path, env: dict[str, str]) -> str | None:
    if example.language == "python":
        return _why([str(python), "-c", example.code], folder, env)
    for line in example.code.splitlines():
        if line.startswith("onnx-gapmil view "):
            why = _serves(line, folder, env)
        else:
            why = _why(["bash", "-c", line], folder, env)
        if why is not None:
            return why
    return None


def _why(command: list[str], folder: Path, env: dict[str, str]) -> str | None:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600)  # noqa: S603
    return None if done.returncode == 0 else f"{command[-1]}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"


def _serves(line: str, folder: Path, env: dict[str, str]) -> str | None:
    """A command that serves until it is stopped: it has to say where, and to stop."""
    process = subprocess.Popen(  # noqa: S603
        ["bash", "-c", f"exec {line}"],  # noqa: S607
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    for text in process.stdout or ():
        said += text
        if "http://127.0.0.1:" in text:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    return None if "http://127.0.0.1:" in said else f"{line}\n{said}{rest}"


def main(python: Path) -> int:
    """Print what runs and what does not; 1 if anything does not."""
    failed = run_all(python, lambda line: print(line, flush=True))
    print("\n\n".join(failed) or "The first example of every page runs as printed.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
