"""What stands beside a model and is not looked for beside the file that was made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.sidecars import left_behind, model_stems

if TYPE_CHECKING:
    from pathlib import Path


def left_behind_note(model: Path, written: Path) -> str | None:
    """One sentence on the preprocessing and names that the written file is without; None where it has them."""
    paths = left_behind(model, written)
    if not paths:
        return None
    found = " and ".join(path.name for path in paths)
    wanted = " and ".join(_renamed(path.name, model, written) for path in paths)
    are, them = ("is", "it") if len(paths) == 1 else ("are", "them")
    renamed = f" as {wanted}" if wanted != found else ""
    return visible(
        f"note: {found}, beside the model, {are} not what {written.name} is read with: copy {them} beside "
        f"it{renamed}, or give --preprocess and --names."
    )


def _renamed(name: str, model: Path, written: Path) -> str:
    stem = next((stem for stem in model_stems(model) if name.startswith(f"{stem}.")), None)
    return name if stem is None else model_stems(written)[-1] + name.removeprefix(stem)
