"""Live pages for the site, made from the sample models by the commands that stand beside them: ``make docs``.

``python -m tools.gallery FOLDER`` writes each into ``FOLDER/NAME.html``: one file that loads nothing, so that it works
from a folder without a server. `PAGES` says which; ``docs/gallery.md`` describes them, held against this by a test.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from onnx_gapmil.cli import main as onnx_gapmil
from tools.quantized import quantize

ROOT = Path(__file__).resolve().parent.parent
#: By the page's name: the command that makes it, and the file that it leaves.
PAGES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "look": (
            "predict sample_models/digits_torch_legacy.onnx sample_models/scenes -o look --page --no-pictures",
            "look/predictions.html",
        ),
        "class-token": (
            "predict sample_models/digits_torch_vit.onnx sample_models/scenes --class-token auto -o token --page "
            "--no-pictures",
            "token/predictions.html",
        ),
        "audit": (
            "audit sample_models/digits_torch_legacy.onnx data -o audit --gallery 60",
            "audit/report.html",
        ),
        "audit-weights": (
            "audit sample_models/digits_torch_flex_position.onnx data -o weights --gallery 24",
            "weights/report.html",
        ),
        "compare": (
            "compare sample_models/digits_torch_legacy.onnx digits_int8.onnx data -o compare --gallery 40",
            "compare/report.html",
        ),
    }
)


def main(folder: Path) -> int:
    """Make all pages; the first command that fails ends it with its exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder.resolve()
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
        prepare()
        for name, (command, made) in PAGES.items():
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                code = onnx_gapmil(shlex.split(command))
            if code:
                print(f"onnx-gapmil {command}\n{printed.getvalue()}", file=sys.stderr)
                return code
            shutil.copyfile(made, target / f"{name}.html")
    print(f"{len(PAGES)} live pages in {folder}.")
    return 0


def prepare() -> None:
    """In the folder of work: the samples, held-out scenes, and a model as 8-bit integers that was calibrated badly."""
    if os.name == "nt":
        shutil.copytree(ROOT / "sample_models", "sample_models")
    else:
        Path("sample_models").symlink_to(ROOT / "sample_models", target_is_directory=True)
    command = [sys.executable, "sample_models/scenes.py", "--count", "200", "--seed", "7", "--out", "data"]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    model, photos = Path("sample_models/digits_torch_legacy.onnx"), sorted(Path("data").glob("*.png"))
    quantize(model, photos[:4], Path("digits_int8.onnx"), light=0.35)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
