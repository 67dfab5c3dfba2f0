"""What traced places are worth: the same grids, audited with the places that are traced and as if they tiled the image.

On the digit scenes of ``sample_models/``, and on 400 photos of ``../shared/real`` where they lie beside the checkout.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import pages
from benchmarks.paper_claims import (
    DIGITS,
    PHOTOS,
    REAL,
    SAMPLES,
    make_scenes,
    run_audit,
    write_photo_labels,
    write_preprocess,
)

COMMAND = "python -m benchmarks.places_worth --scenes {scenes} --markdown docs/benchmarks/places.md"
_HEADS = [
    "model",
    "rows from",
    "columns from",
    "pointing game",
    "boxes at IoU 0.3",
    "IoU 0.5",
    "IoU 0.7",
    "MaxBoxAccV2",
]


@contextmanager
def tiled() -> Iterator[None]:
    """Cells divide the input evenly, whatever was traced."""
    from onnx_gapmil.images.places import AxisPlaces, Places
    from onnx_gapmil.rewriting.result import Rewrite

    real = Rewrite.with_places

    def tiling(made: Rewrite, places: Mapping[str, Places]) -> Rewrite:
        found = {}
        for head in made.heads:
            known = places[head.output]
            rows, columns = head.feature_grids[0].size
            if known.known and known.rows is not None and known.columns is not None:
                pixels = [line.step * cells for line, cells in ((known.rows, rows), (known.columns, columns))]
                lines = [
                    AxisPlaces.tiling(cells, round(side)) for cells, side in zip((rows, columns), pixels, strict=True)
                ]
                known = Places(True, known.input, *lines)
            found[head.output] = known
        return real(made, found)

    with mock.patch.object(Rewrite, "with_places", tiling):
        yield


def _cells(name: str, found: Mapping[str, Any], first: tuple[str, str]) -> list[str]:
    iou = found["localization"] or {}
    shares = [found["pointing_game"], *(iou.get(f"iou_{level}") for level in ("0.3", "0.5", "0.7"))]
    best = found["maxboxacc_v2"]
    return [name, *first, *(f"{100 * share:.1f}" if share is not None else "-" for share in (*shares, best))]


def measure(name: str, out: Path, model: Path, **request: Any) -> list[list[str]]:
    """One model with its places, and without."""
    from onnx_gapmil.rewriting.in_memory import rewrite_in_memory

    places = rewrite_in_memory(model).heads[0].places
    assert places.rows is not None
    assert places.columns is not None
    traced = run_audit(f"{name} traced", out, model=model, **request)
    with tiled():
        plain = run_audit(f"{name} tiled", out, model=model, **request)
    lines = places.rows, places.columns
    return [
        _cells(f"`{name}`", traced, (f"{lines[0].first:.1f}", f"{lines[1].first:.1f}")),
        _cells("as if it tiled", plain, (f"{lines[0].step / 2:.1f}", f"{lines[1].step / 2:.1f}")),
    ]


def markdown(digits: list[list[str]], photos: list[list[str]], scenes: int) -> list[str]:
    """The page."""
    return [
        "# What traced places are worth",
        "",
        *pages.made_by(COMMAND.format(scenes=scenes)),
        "",
        "The same grids are audited twice: with the places that are traced and measured, and as if their cells divided "
        "the image evenly. In percent: the pointing game, boxes by their IoU with the object, MaxBoxAccV2; before them "
        "the centre of the first row and column of cells, in pixels of the input.",
        "",
        f"## {scenes} digit scenes",
        "",
        *pages.table(_HEADS, digits),
        *(["", "## 400 photos", "", *pages.table(_HEADS, photos)] if photos else []),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000, help="held-out scenes (default 1000)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page there")
    options = parser.parse_args()
    digits: list[list[str]] = []
    photos: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        labels = make_scenes(scratch / "scenes", options.scenes)
        for name in DIGITS:
            digits += measure(name, scratch, SAMPLES / f"{name}.onnx", data=labels)
        if (REAL / "manifest.json").is_file():
            annotated = write_photo_labels(REAL, scratch)
            for name, changed in PHOTOS.items():
                model = REAL / "models" / f"{name}.onnx"
                recipe = str(write_preprocess(model, changed, scratch))
                images = REAL / "images" / "ilsvrc_val_227"
                photos += measure(name, scratch, model, data=images, labels=annotated, preprocess=recipe)
    lines = markdown(digits, photos, options.scenes)
    print("\n".join(lines))
    pages.write(options.markdown, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
