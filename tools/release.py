"""`make release`: build what is published, try it as a stranger would, and write down what is in it.

Into ``dist/`` come the sdist, the wheel, a bill of materials (CycloneDX) of an environment that holds the wheel
and what it needs, and SHA-256 sums. The wheel is tried in a fresh environment without the checkout and without a
development package: every verb's help, the main job on a sample model, and the first example of every page as it is
printed. Nothing is uploaded.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from onnx_gapmil.version import __version__
from tools.first_examples import run_all

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
MODEL, SCENES = ROOT / "sample_models" / "digits_torch_legacy.onnx", ROOT / "sample_models" / "scenes"
#: A wheel above this holds what it should not.
MOST_BYTES = 8_000_000


def main() -> int:
    """Build, check, try and describe; the first thing that is wrong ends it with 1."""
    try:
        require_entry()
        shutil.rmtree(DIST, ignore_errors=True)
        run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
        wheel, sdist = only(DIST.glob("*.whl")), only(DIST.glob("*.tar.gz"))
        with zipfile.ZipFile(wheel) as unpacked:
            licences = {Path(name).name for name in unpacked.namelist() if ".dist-info/licenses/" in name}
        require(
            licences >= {"LICENSE", "OFL.txt", "licences.md"}, f"the wheel has the licences {sorted(licences)} alone"
        )
        with tarfile.open(sdist) as packed:
            names = set(packed.getnames())
        for file in ("LICENSE", "SECURITY.md", "CITATION.cff", "docs/conf.py", "tests/conftest.py"):
            require(f"{sdist.name.removesuffix('.tar.gz')}/{file}" in names, f"the sdist lacks {file}")
        run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
        require(wheel.stat().st_size < MOST_BYTES, f"{wheel.name} is {wheel.stat().st_size:,} bytes")
        with tempfile.TemporaryDirectory() as folder:
            tried_in = installed(wheel, Path(folder) / "venv")
            try_it(tried_in, Path(folder))
            bill = DIST / f"{wheel.stem}.cdx.json"
            run(sys.executable, "-m", "cyclonedx_py", "environment", "--output-file", bill, tried_in)
            # A page about an extra begins with a command that wants it.
            run(tried_in, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[ray]")
            failed = run_all(tried_in, lambda line: print(line, flush=True))
            require(not failed, "first examples of pages fail:\n" + "\n".join(failed))
        write_sums([wheel, sdist, bill])
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes; {sdist.name}: {sdist.stat().st_size:,} bytes")
    except ReleaseError as error:
        print(f"Not releasable: {error}.", file=sys.stderr)
        return 1
    print((DIST / "SHA256SUMS").read_text("utf-8"), end="")
    return 0


class ReleaseError(Exception):
    """What keeps this state from being released."""


def require(holds: bool, otherwise: str) -> None:
    """Go on only if something holds."""
    if not holds:
        raise ReleaseError(otherwise)


def require_entry(changelog: str | None = None) -> None:
    """The changelog speaks of this version, and has nothing that is not in it."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8") if changelog is None else changelog
    require(f"## [{__version__}]" in text, f"CHANGELOG.md has no section [{__version__}]")
    unreleased = re.search(r"## \[Unreleased\]\n(.*?)(?=\n## \[|\Z)", text, re.DOTALL)
    require(unreleased is None or not unreleased[1].strip(), "CHANGELOG.md has changes that are in no version")


def only(paths: object) -> Path:
    """The one file there is."""
    found = list(paths)  # type: ignore[call-overload]
    require(len(found) == 1, f"one file was to be built, and there are {len(found)}")
    return Path(found[0])


def run(*command: object, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a command, quietly unless it fails."""
    done = subprocess.run(  # noqa: S603
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    require(done.returncode == 0, f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def installed(wheel: Path, folder: Path) -> Path:
    """The Python of a fresh environment that has the wheel and what it needs, and nothing else."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    for note in folder.rglob("onnx_gapmil-*.dist-info/direct_url.json"):
        note.unlink()  # a path of this machine, which the bill of materials would name
    return python


def try_it(python: Path, folder: Path) -> None:
    """What a user does first, away from the checkout."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env["XDG_CACHE_HOME"] = str(folder / "cache")
    program = python.with_name("onnx-gapmil")
    where = run(python, "-c", "import onnx_gapmil; print(onnx_gapmil.__file__)", cwd=folder, env=env)
    require(str(ROOT / "onnx_gapmil") not in where, "the checkout was tried, and not the wheel")
    require(run(program, "--version", cwd=folder, env=env).split()[-1] == __version__, "the version is another")
    for verb in re.findall(r"^  ([a-z]+)  ", run(program, "--help", cwd=folder, env=env), re.MULTILINE):
        run(program, verb, "--help", cwd=folder, env=env)
    run(program, "inspect", MODEL, cwd=folder, env=env)
    rewritten = folder / "digits.gapmil.onnx"
    run(program, "rewrite", MODEL, "-o", rewritten, cwd=folder, env=env)
    run(program, "verify", MODEL, rewritten, cwd=folder, env=env)
    run(program, "predict", MODEL, SCENES, "-o", folder / "predictions", cwd=folder, env=env)
    run(program, "audit", MODEL, SCENES, "-o", folder / "audit", cwd=folder, env=env)
    require(len(list((folder / "predictions").glob("*.png"))) == 8, "predict drew other than eight pictures")
    require((folder / "audit" / "report.html").stat().st_size > 100_000, "the audit's page is all but empty")


def write_sums(paths: list[Path]) -> None:
    """``SHA256SUMS``, as ``sha256sum --check`` reads it."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths]
    (DIST / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
