"""Which exported classifiers open for twice their input size, and whether the opened ones pass their proofs there.

Each file of the zoo is opened for twice the height and width that its graph fixes (128x128 where it fixes none), and
rewritten at that size with all proofs but the comparison under the runtime's optimization. Heads are named as the
zoo's catalogue has them. ``--rows FILE`` keeps what became of each file as JSON lines; a run that was stopped goes on
from there. ``--markdown FILE`` writes the figures into that page, between its marks.

Exit code 1 if a file that opens and runs fails a proof.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import pages
from onnx_gapmil import rewrite
from onnx_gapmil.errors import GapmilError
from onnx_gapmil.graph.loading import LoadedModel, load_model
from onnx_gapmil.images.input_spec import image_spec
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.ort.limits import set_seconds
from onnx_gapmil.rewriting.proof.report import ProofError
from onnx_gapmil.rewriting.resized import at_size
from onnx_gapmil.rewriting.sizing.record import Size, size_of
from onnx_gapmil.version import __version__
from tests.references.zoo import ZOO, read_catalogue

COMMAND = "python -m benchmarks.opened --markdown docs/sizes.md"
MARKS = ("<!-- opened -->", "<!-- /opened -->")
#: Of a graph that leaves its size open.
OPEN_SIZE = 128
#: The catalogue's words, in the order of the table, and the page's.
HEADS = {
    "exact": "exact",
    "conditional": "conditional",
    "quantized": "quantized",
    "open": "undecided",
    "flatten": "a flattened map",
    "refused": "refused at their own size too",
}


@dataclass
class Row:
    """What became of one file.

    Attributes:
        file: its path in the zoo.
        expect: the catalogue's word for its head.
        opened: whether its graph could be brought to the size.
        why: the refusal or the failure, in the program's words; "" where there is none.
        changes: how many nodes were changed for it.
        residual: of its outputs at the original size; None where nothing was changed, or the size is open.
        declared: whether the graph leaves its size open.
        lifted: how many heads have a grid at the new size.
        proved: whether they passed; None where none has a grid.
        moved: heads whose cells lie another distance apart, or begin elsewhere, than at the original size.
        lost: heads whose places are known at the original size and not at the new one.
        failed: whether a proof failed, and not the run that it needs.
    """

    file: str
    expect: str
    opened: bool = False
    why: str = ""
    changes: int = 0
    residual: float | None = None
    declared: bool = False
    lifted: int = 0
    proved: bool | None = None
    moved: int = 0
    lost: int = 0
    failed: bool = False


def twice(source: LoadedModel) -> Size | None:
    """Twice the size that a graph fixes, 128 along an axis that it leaves open; None where it takes no image."""
    spec = image_spec(source.proto)
    if spec is None:
        return None
    height, width = (OPEN_SIZE if side is None else 2 * side for side in spec.size())
    return height, width


def row_of(path: Path, file: str, expect: str) -> Row:
    """What becomes of one file."""
    row = Row(file, expect)
    try:
        source = load_model(path)
        size = twice(source)
        if size is None:
            row.why = "takes no image"
            return row
        made = at_size(source, size)
    except GapmilError as error:
        row.why = str(error)
        return row
    row.opened = True
    record = size_of(made.metadata)
    if record is not None:
        row.changes, row.residual, row.declared = len(record.changes), record.residual, record.original is None
    try:
        large = rewrite(made, write=False, as_deployed=False)
    except UnsupportedHeadError as error:
        row.why = f"refused, {error.refusal.code}"
        return row
    except GapmilError as error:
        row.proved, row.why, row.failed = False, str(error), isinstance(error, ProofError)
        return row
    row.lifted, row.proved = len(large.heads), True
    own = {head.output: head.places for head in rewrite(source, write=False, as_deployed=False).heads}
    for head in large.heads:
        before, after = own.get(head.output), head.places
        if before is None or not before.known or row.declared:
            continue
        row.lost += not after.known
        row.moved += after.known and (before.rows, before.columns) != (after.rows, after.columns)
    return row


def table(rows: Sequence[Row]) -> list[str]:
    """By kind of head."""
    lines = []
    for word, said in HEADS.items():
        own = [row for row in rows if row.expect == word]
        refused = Counter(_reason(row.why) for row in own if not row.opened)
        reasons = "; ".join(f"{number} {reason}" for reason, number in refused.most_common())
        count = f"{sum(refused.values())}: {reasons}" if refused else ""
        lines.append([said, str(len(own)), str(sum(row.opened for row in own)), count])
    return pages.table(["heads", "files", "opened", "refused"], lines, numbers_from=4)


def _reason(why: str) -> str:
    """A refusal's kind, of the words that say what the node does."""
    kinds = {
        "weights for each position": "weights for each position",
        "the whole map: its weights": "weights for each position",
        "a value for each position": "constants over positions",
        "a graph of its own": "a branch or a loop that the size decides",
        "a place of one size alone": "a cut within the map",
        "all rows or all columns": "a window of all rows or columns",
        "would grow with the size": "a sum over positions that nothing scales",
        "The model cannot be run": "does not load in this runtime",
        "takes no image": "takes no image",
        "cannot take": "an operator that does not take the new shape",
    }
    return next((said for words, said in kinds.items() if words in why), why)


def page(rows: Sequence[Row]) -> list[str]:
    """What stands between the marks."""
    lifted = [row for row in rows if row.lifted or row.proved is False]
    changed = [row for row in rows if row.opened and row.changes]
    equal = sum(row.residual == 0 for row in changed)
    rounded = [row.residual for row in changed if row.residual]
    untouched = sum(row.opened and not row.changes for row in rows)
    return [
        *pages.made_by(COMMAND),
        "",
        f"{len(rows)} exported files, opened at twice their size ({OPEN_SIZE}x{OPEN_SIZE} where that is open), and "
        "rewritten with all proofs but the comparison under the runtime's optimization.",
        "",
        *table(rows),
        "",
        f"Of the {sum(row.opened for row in rows)} opened ones {len(lifted)} have a head with a grid, of which "
        f"{sum(row.proved is True for row in lifted)} are proved. {untouched} of the opened ones needed no change "
        f"({sum(row.opened and row.declared for row in rows)} leave their size open), {equal} give the vendor's "
        f"outputs bit for bit at the original size, {len(rounded)} within rounding (the largest difference is "
        f"{max(rounded, default=0):.1e}). "
        f"Heads whose cells look elsewhere than at the original size: {sum(row.moved for row in rows)}; whose places "
        f"are unknown at the new size alone: {sum(row.lost for row in rows)}.",
        *_failed(rows),
    ]


def _failed(rows: Sequence[Row]) -> list[str]:
    found = [f"- `{row.file}`: {row.why.rpartition(': The ')[2]}" for row in rows if row.proved is False]
    return ["", "Not proved:", "", *found] if found else []


def kept(path: Path | None) -> dict[str, Row]:
    """What an earlier run of this version found, by file."""
    if path is None or not path.is_file():
        return {}
    entries = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {entry["row"]["file"]: Row(**entry["row"]) for entry in entries if entry["version"] == __version__}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="keep what became of each file, and go on from there")
    parser.add_argument("--markdown", type=Path, help="write the figures into this page, between its marks")
    options = parser.parse_args()
    set_seconds(600)  # a busy machine is slow, and no model here is endless
    before = kept(options.rows)
    rows = []
    for entry in read_catalogue(ZOO):
        file = entry["file"]
        row = before.get(file)
        if row is None:
            row = row_of(ZOO / file, file, entry["expect"])
            print(f"{file}: {row.why or 'proved'}", file=sys.stderr, flush=True)
            if options.rows is not None:
                with options.rows.open("a", encoding="utf-8") as kept_rows:
                    kept_rows.write(json.dumps({"version": __version__, "row": asdict(row)}) + "\n")
        rows.append(row)
    lines = page(rows)
    print("\n".join(lines))
    if options.markdown is not None:
        pages.write_between(options.markdown, MARKS, lines)
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
