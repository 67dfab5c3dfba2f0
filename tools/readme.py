"""Run the commands that the README shows, and paste what they print: documents that cannot drift.

``python -m tools.readme`` rewrites the README and its picture; ``--check`` only says whether they are up to date.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from onnx_gapmil.cli import main as onnx_gapmil
from onnx_gapmil.show.terminal import console

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "images" / "prediction.png"
_BLOCK = re.compile(r"(<!-- \$ onnx-gapmil (?P<command>.*?) -->\n```\n)(?P<output>.*?)(```\n)", re.DOTALL)
#: Columns of the README's terminal; in a pipe nothing would be wrapped.
_WIDTH = 110
#: What a long run says in between, where there is no bar.
_TENTHS = re.compile(r"^[\d,]+ of [\d,]+ (photos|images), \d+ %, .*\n", re.MULTILINE)
#: Figures that rounding changes from machine to machine.
_ROUNDING = re.compile(r"\d\.\de-\d\d")
_GROWTH = re.compile(r"\+[\d,]+ bytes, [\d.]+ %")
_PROVIDER = re.compile(r"^running on .*$", re.MULTILINE)
_PROOF = re.compile(r"proved\s(now|by\san\searlier\srun),\sin\s(less\sthan\s)?[\d.]+\ss")
_SPEED = re.compile(r"\d+ photos in [\d.]+ s, [\d.]+ photos/s")


def run(command: str) -> str:
    """What a command prints, both streams, as a reader of the README would see it."""
    printed = io.StringIO()
    console.UNWRAPPED = _WIDTH
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        onnx_gapmil(shlex.split(command))
    return "".join(f"{line.rstrip()}\n" for line in _TENTHS.sub("", printed.getvalue()).strip().splitlines())


def make_scenes(folder: Path) -> None:
    """The held-out scenes that the README audits, where they were not made before."""
    if not (folder / "scenes.json").is_file():
        command = [sys.executable, "sample_models/scenes.py", "--count", "200", "--seed", "7", "--out", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603


def fresh(text: str) -> str:
    """The README with every block's output as it is now."""
    return _BLOCK.sub(
        lambda found: f"{found[1]}$ onnx-gapmil {found['command']}\n{run(found['command'])}{found[4]}", text
    )


def comparable(text: str) -> str:
    """The text without figures that differ between machines."""
    for figure, stand_in in (
        (_ROUNDING, "0.0e-00"),
        (_PROVIDER, "running on ..."),
        (_GROWTH, "+... bytes"),
        (_SPEED, "... photos"),
        (_PROOF, "proved ..."),
    ):
        text = figure.sub(stand_in, text)
    return text


def main() -> int:
    """Write or check; returns the exit code."""
    make_scenes(ROOT / "demo_output" / "scenes")
    for made in ("readme", "readme_audit"):  # else the commands say that an earlier run's results lie there
        shutil.rmtree(ROOT / "demo_output" / made, ignore_errors=True)
    before = README.read_text(encoding="utf-8")
    after = fresh(before)
    if "--check" in sys.argv[1:]:
        current = comparable(before) == comparable(after)
        print("README.md is up to date." if current else "README.md has drifted: run python -m tools.readme")
        return 0 if current else 1
    README.write_text(after, encoding="utf-8")
    with Image.open(ROOT / "demo_output" / "readme" / "scene_06.png") as picture:
        picture.save(PICTURE, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
