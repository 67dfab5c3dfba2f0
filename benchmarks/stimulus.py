"""What stripes of the image show: on maps that are right, and on the same maps made wrong.

Every classifier of the zoo and of the real models that lifts is checked as `rewrite` checks it. Then its map is spoilt
on the way to the check (mirrored, transposed, cropped, added to a copy, ...) while the places stay what they were: a
spoilt map that passes is a false one, a right one that fails a false alarm. The limits in
``onnx_gapmil/rewriting/proof/looks.py`` lie between the two.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import pages
from benchmarks.rewriting_cost import ResNet50
from onnx_gapmil.errors import GapmilError
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.ort.session import make_session
from onnx_gapmil.rewriting.proof.looks import CORRELATION, OFFSET, SLOPES, SWAPPED
from onnx_gapmil.rewriting.proof.place import check_places
from onnx_gapmil.rewriting.proof.place_check import PlaceCheck
from onnx_gapmil.rewriting.rewriter import rewrite_model

if TYPE_CHECKING:
    from onnx_gapmil.rewriting.result import Rewrite

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
COMMAND = "python -m benchmarks.stimulus --markdown docs/benchmarks/stimulus.md"
#: Passes that the design allows for a ResNet-50.
MOST_RUNS = 40
#: Cells along an axis of a map that has an interior.
FEWEST = 4
#: Models whose right map alone costs more seconds than this are not spoilt.
_COSTLY = 4.0

Map = np.ndarray
Spoil = Callable[[Map], Map]


def _windows(found: Map) -> Map:
    """Windows of 2 x 2 cells one after the other, as tokens that were never put back."""
    n, c, h, w = found.shape
    return found.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h, w)


def _shuffled(found: Map) -> Map:
    n, c, h, w = found.shape
    order = np.random.default_rng(0).permutation(h * w)
    return found.reshape(n, c, h * w)[..., order].reshape(n, c, h, w)


def _middle(found: Map, part: float) -> Map:
    edge = [max(1, round(side * (1 - part) / 2)) for side in found.shape[2:]]
    return found[:, :, edge[0] : found.shape[2] - edge[0], edge[1] : found.shape[3] - edge[1]]


#: What is done to a map, whose places stay those of the whole image.
SPOILT: dict[str, Spoil] = {
    "rows mirrored": lambda found: found[:, :, ::-1],
    "columns mirrored": lambda found: found[:, :, :, ::-1],
    "transposed": lambda found: found.swapaxes(2, 3),
    "rolled by two columns": lambda found: np.roll(found, 2, axis=3),
    "rolled by half": lambda found: np.roll(found, found.shape[3] // 2, axis=3),
    "middle half": lambda found: _middle(found, 0.5),
    "middle three quarters": lambda found: _middle(found, 0.75),
    "added to its mirror image": lambda found: found + found[:, :, :, ::-1],
    "added to its transpose": lambda found: found + found.swapaxes(2, 3),
    "2 x 2 windows not put back": _windows,
    "shuffled": _shuffled,
}


@dataclass(frozen=True)
class Row:
    """One head.

    Attributes:
        file: its model.
        size: (H, W) of the map.
        right: the check as `rewrite` makes it.
        seconds: what that cost, of the processor.
        spoilt: what became of the spoilt maps.
    """

    file: str
    size: tuple[int, int]
    right: PlaceCheck
    seconds: float
    spoilt: Mapping[str, bool | None]


class Trunk:
    """The map of a model's first head; what was run once is kept."""

    def __init__(self, made: Rewrite) -> None:
        assert made.trace is not None
        self.head, self.inputs = made.heads[0], made.trace.inputs
        source = self.head.feature_grids[0].source
        self.dtype = made.trace.dtypes.get(source, np.dtype(np.float32))
        data, folder = replace(made.source, proto=made.model).session_source()
        self._session = make_session(data, choose_providers("cpu"), external_data_folder=folder, spinning=False)
        self._known: dict[tuple[bytes, ...], Map] = {}

    def run(self, feeds: Mapping[str, np.ndarray]) -> Map:
        """The map (N, C, H, W)."""
        key = tuple(feeds[entry.name].tobytes() for entry in self.inputs)
        if key not in self._known:
            (self._known[key],) = self._session.run([self.head.features], dict(feeds))
        return self._known[key]

    def right(self) -> PlaceCheck:
        """The check of the map as it is."""
        return check_places(self.run, self.inputs, self.head.places, self.dtype)

    def spoilt(self, spoil: Spoil) -> PlaceCheck:
        """The check of a spoilt map, whose places are said to be those of the whole map."""
        places = self.head.places
        assert places.rows is not None
        assert places.columns is not None
        zeros = self.run({entry.name: np.zeros(entry.traced, entry.dtype) for entry in self.inputs})
        rows, columns = (
            _spread(axis, before, after)
            for axis, before, after in zip(
                (places.rows, places.columns), zeros.shape[2:], spoil(zeros).shape[2:], strict=True
            )
        )
        said = Places(True, places.input, rows, columns)
        return check_places(lambda feeds: spoil(self.run(feeds)), self.inputs, said, self.dtype)


def _spread(axis: AxisPlaces, before: int, after: int) -> AxisPlaces:
    """Places of fewer cells on the same stretch of the image."""
    step = axis.step * before / after
    return AxisPlaces(axis.first - axis.step / 2 + step / 2, step)


def measure(made: Rewrite, file: str) -> Row:
    """Check one model's map, right and spoilt."""
    trunk = Trunk(made)
    start = time.process_time()
    right = trunk.right()
    seconds = time.process_time() - start
    size = made.heads[0].feature_grids[0].size
    wrong: dict[str, bool | None] = {}
    if right.passed and min(size) >= FEWEST and seconds < _COSTLY:
        for name, spoil in SPOILT.items():
            if _fits(name, *size):
                wrong[name] = trunk.spoilt(spoil).passed
    return Row(file, size, right, seconds, wrong)


def _fits(name: str, height: int, width: int) -> bool:
    """Whether a map can be spoilt so."""
    if "transpose" in name:
        return height == width
    return "windows" not in name or not (height % 2 or width % 2)


def rows_of(folders: Sequence[Path]) -> Iterator[Row]:
    """All models below some folders that lift and whose places were traced."""
    for folder in folders:
        for path in sorted(folder.rglob("*.onnx")):
            try:
                made = rewrite_model(path)
            except GapmilError:
                continue
            if made.trace is not None and made.trace.measured:
                yield measure(made, str(path.relative_to(folder.parent)))


def markdown(rows: Sequence[Row], resnet: Row) -> list[str]:
    """The page."""
    told = [row for row in rows if row.right.passed is not None]
    failed = [row for row in told if not row.right.passed]
    return [
        "# What stripes of the image show",
        "",
        *pages.made_by(COMMAND),
        "",
        "The proof of place replaces stripes of the input by other noise and asks which cells move "
        "(`onnx_gapmil/rewriting/proof/looks.py`). Here it is run on every classifier of `../shared/zoo` and "
        "`../shared/real` that lifts, with the places that were traced; then on the same maps, spoilt.",
        "",
        "## Maps that are right",
        "",
        f"{len(rows)} heads: {len(told) - len(failed)} pass, {len(failed)} fail, {len(rows) - len(told)} say nothing. "
        f"A ResNet-50 at 224 px takes {resnet.right.runs} forward passes ({MOST_RUNS} are allowed) and "
        f"{resnet.seconds:.1f} s of the processor; of all heads the median is "
        f"{np.median([row.right.runs for row in rows]):.0f} passes.",
        "",
        "Figures of axes with at least 4 cells, and what is allowed of them:",
        "",
        *pages.table(["", "least", "1 %", "median", "99 %", "largest", "allowed"], _figures(told)),
        "",
        "## Those that say nothing, or fail",
        "",
        *pages.table(
            ["model", "map", "passes", "why"],
            [
                [row.file, "x".join(map(str, row.size)), str(row.right.runs), row.right.reason]
                for row in rows
                if not row.right.passed
            ],
            numbers_from=9,
        ),
        "",
        "## The same maps, spoilt",
        "",
        f"Of maps with at least {FEWEST} cells a side, right under 4 s: how many are shown to be wrong.",
        "",
        *pages.table(["the map is", "maps", "shown", "passed", "said nothing"], _spoilt(rows)),
        "",
        "What passes are mostly crops: outer cells of wide receptive fields answer to what lies beyond the crop too; "
        "and three quarters of a small map are a crop by one cell. Coordinates see those.",
    ]


def _figures(rows: Sequence[Row]) -> Iterator[list[str]]:
    axes = [
        axis
        for row in rows
        for axis, cells in zip((row.right.rows, row.right.columns), row.size, strict=True)
        if axis is not None and cells >= FEWEST
    ]
    allowed = {
        "correlation": f"from {CORRELATION}",
        "slope": f"{SLOPES[0]} to {SLOPES[1]}",
        "offset": f"-{OFFSET} to {OFFSET}",
        "swapped": f"to {SWAPPED}",
    }
    for name, limit in allowed.items():
        values = np.quantile([getattr(axis, name) for axis in axes], [0, 0.01, 0.5, 0.99, 1])
        yield [name, *(f"{value + 0.0:.2f}" for value in values), limit]


def _spoilt(rows: Sequence[Row]) -> Iterator[list[str]]:
    for name in SPOILT:
        got = Counter(row.spoilt[name] for row in rows if name in row.spoilt)
        yield [name, *map(str, (got.total(), got[False], got[True], got[None]))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[SHARED / "real", SHARED / "zoo"], metavar="DIR")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page there")
    options = parser.parse_args()
    resnet = measure(rewrite_model(ResNet50().build()), "ResNet-50")
    rows = []
    for row in rows_of(options.folders):
        rows.append(row)
        if not row.right.passed:
            print(f"{row.file}: {row.right.reason}", file=sys.stderr)
    lines = markdown(rows, resnet)
    print("\n".join(lines))
    pages.write(options.markdown, lines)
    return 1 if any(row.right.passed is False for row in rows) or resnet.right.runs >= MOST_RUNS else 0


if __name__ == "__main__":
    sys.exit(main())
