"""Run the commands that the README and the first pages show, and paste what they print: documents that cannot drift.

``python -m tools.readme`` rewrites the pages and the README's picture; ``--check`` only says whether they are as they
should be.
Above each output stands ``<!-- $ onnx-gapmil COMMAND -->``. Behind the command may stand

- ``(part)``: the output is shown in parts, with ``...`` for what is left out. It is held against what the command
  prints, and written only where it does not hold;
- ``(part, about)``: likewise, and its numbers may differ as integer kernels of processors do, by a tenth.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from onnx_gapmil.cli import main as onnx_gapmil
from onnx_gapmil.show.terminal import console
from tools.quantized import quantize

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
#: In the order in which their commands are run.
PAGES = (README, ROOT / "docs" / "howto" / "audit.md", ROOT / "docs" / "howto" / "rewrite.md")
PICTURE = ROOT / "docs" / "images" / "prediction.png"
#: What the commands leave in ``demo_output/``, and would speak of if it were there.
MADE = ("readme", "readme_audit", "readme_compare", "readme_check")
_BLOCK = re.compile(
    r"(<!-- \$ onnx-gapmil (?P<command>.*?)(?P<part> \(part(?:, about)?\))? -->\n```\n)(?P<output>.*?)(```\n)",
    re.DOTALL,
)
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
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-\d+)?")


def run(command: str) -> str:
    """What a command prints, both streams, as a reader of the README would see it."""
    printed = io.StringIO()
    console.UNWRAPPED = _WIDTH
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        onnx_gapmil(shlex.split(command))
    return "".join(f"{line.rstrip()}\n" for line in _TENTHS.sub("", printed.getvalue()).strip().splitlines())


def prepare() -> None:
    """The held-out scenes that are audited, and the integer model that is compared, where they were not made before."""
    scenes, made = ROOT / "demo_output" / "scenes", ROOT / "demo_output" / "readme_dim" / "digits_int8.onnx"
    if not (scenes / "scenes.json").is_file():
        command = [sys.executable, "sample_models/scenes.py", "--count", "200", "--seed", "7", "--out", str(scenes)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603
    photos = sorted(scenes.glob("*.png"))[:4]
    quantize(ROOT / "sample_models" / "digits_torch_legacy.onnx", photos, made, light=0.35)
    for name in MADE:  # else the commands say that an earlier run's results lie there
        shutil.rmtree(ROOT / "demo_output" / name, ignore_errors=True)


def fresh(text: str) -> str:
    """A page with every block's output as it is now; a part that is no longer printed stands as it should not."""

    def block(found: re.Match[str]) -> str:
        printed = f"$ onnx-gapmil {found['command']}\n{run(found['command'])}"
        if found["part"]:
            about = "about" in found["part"]
            return found[0] if holds(printed, found["output"], about=about) else f"{found[1]}{printed}{found[5]}"
        return f"{found[1]}{printed}{found[5]}"

    return _BLOCK.sub(block, text)


def holds(printed: str, shown: str, *, about: bool) -> bool:
    """Whether an output is shown as it is printed, in parts that follow each other.

    Args:
        printed: all of it.
        shown: lines of it, with ``...`` for what is left out.
        about: whether numbers may differ by a tenth.
    """
    lines, at = comparable(printed).splitlines(), 0
    for part in re.split(r"^\.\.\.\n", comparable(shown), flags=re.MULTILINE):
        wanted = part.splitlines()
        while at + len(wanted) <= len(lines):
            if all(_same(*pair, about) for pair in zip(lines[at : at + len(wanted)], wanted, strict=True)):
                break
            at += 1
        else:
            return False
        at += len(wanted)
    return True


def _same(line: str, wanted: str, about: bool) -> bool:
    if not about:
        return line == wanted
    if _NUMBER.sub("", line) != _NUMBER.sub("", wanted):
        return False
    pairs = zip(_NUMBER.findall(line), _NUMBER.findall(wanted), strict=False)
    return all("e" in one or math.isclose(float(one), float(other), rel_tol=0.1, abs_tol=3) for one, other in pairs)


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
    prepare()
    drifted = []
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        for name in MADE:
            shutil.rmtree(ROOT / "demo_output" / name, ignore_errors=True)
        after = fresh(before)
        if comparable(before) != comparable(after):
            drifted.append(str(page.relative_to(ROOT)))
        if "--check" not in sys.argv[1:]:
            page.write_text(after, encoding="utf-8")
        if page == README:
            picture = (ROOT / "demo_output" / "readme" / "scene_06.png").read_bytes()
    if "--check" in sys.argv[1:]:
        print(f"Drifted: {', '.join(drifted)}; run python -m tools.readme" if drifted else "All pages are up to date.")
        return int(bool(drifted))
    with Image.open(io.BytesIO(picture)) as drawn:
        drawn.save(PICTURE, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
