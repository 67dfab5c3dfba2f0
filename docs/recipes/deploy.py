"""A step of a deployment in Python: judge the candidate, then hand over the rewritten file with its certificate."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from onnx_gapmil import check, rewrite, verify


def deploy(candidate: Path, current: Path, data: Path, shelf: Path) -> int:
    """Put the candidate on the shelf, if it may go there; the exit code says why not."""
    report = check(candidate, "gapmil.toml", data=data, against=current, attestation="gapmil.intoto.json")
    for rule in report.rules:
        print(f"{rule.state:<10}  {rule.name}  {rule.reason}")
    if not report.passed:
        return report.exit_code
    shelf.mkdir(parents=True, exist_ok=True)
    copied = Path(shutil.copy(candidate, shelf))
    rewrite(copied, certificate=shelf / f"{copied.stem}.cert.json")
    # On the machine that serves it, another runtime or provider: the same line, before the model is loaded.
    return 0 if verify(certificate=shelf / f"{copied.stem}.cert.json").passed else 1


if __name__ == "__main__":
    sys.exit(deploy(Path("models/candidate.onnx"), Path("models/current.onnx"), Path("data"), Path("shelf")))
