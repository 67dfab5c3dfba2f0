"""What a rewritten file has more than the vendor's, byte by byte: record, nodes and their names, constants, outputs.

Weights are shared, so what is added does not grow with the model: it is less than 1 % of a file of a megabyte, and
more of a small one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from benchmarks.pages import ROOT
from onnx_gapmil import GapmilError, rewrite
from tests.references.zoo import ZOO, read_catalogue

COMMAND = "python -m benchmarks.growth --markdown docs/benchmarks/growth.md"
#: Upper ends of the groups of files, in bytes, and their names.
BANDS = ((20_000, "below 20 kB"), (100_000, "20 to 100 kB"), (1_000_000, "100 kB to 1 MB"), (1 << 62, "above 1 MB"))
#: What is allowed of a file that is not small.
SHARE = 0.01


@dataclass(frozen=True)
class Growth:
    """Bytes of one file and of what was added to it.

    Attributes:
        file: its name.
        before: of the vendor's file.
        after: of the rewritten one.
        record: of the metadata.
        names: of names in new nodes.
        nodes: of the rest of new nodes.
        constants: of new initializers.
        outputs: of new outputs.
        attachment: the rung of the ladder.
    """

    file: str
    before: int
    after: int
    record: int
    names: int
    nodes: int
    constants: int
    outputs: int
    attachment: str

    @property
    def share(self) -> float:
        """Of the vendor's file."""
        return (self.after - self.before) / self.before


def measure(path: Path, folder: Path) -> Growth | None:
    """Rewrite a file and take it apart; None if it is refused."""
    target = folder / "grown.onnx"
    target.unlink(missing_ok=True)
    try:
        result = rewrite(path, target)
    except GapmilError:
        return None
    if result.output_path is None:
        return None
    old, new = (onnx.load(str(file), load_external_data=False) for file in (path, target))
    added = new.graph.node[len(old.graph.node) :]
    names = sum(len(name.encode()) for node in added for name in (*node.input, *node.output, node.name))
    return Growth(
        path.name,
        path.stat().st_size,
        target.stat().st_size,
        sum(entry.ByteSize() for entry in new.metadata_props) - sum(entry.ByteSize() for entry in old.metadata_props),
        names,
        sum(node.ByteSize() for node in added) - names,
        sum(tensor.ByteSize() for tensor in new.graph.initializer[len(old.graph.initializer) :]),
        sum(value.ByteSize() for value in new.graph.output[len(old.graph.output) :]),
        result.heads[0].attachment,
    )


def report(rows: list[Growth]) -> str:
    """The page."""
    lines = [
        "# What a rewritten file has more",
        "",
        f"Made by `{COMMAND}`; onnx {onnx.__version__}. Medians of each group, in bytes. Weights are shared, so "
        "that what is added depends on the head and not on the model: the record (what was found and proved, with "
        "where each axis looks), and nodes, of which names are the larger part. A Q/DQ head has the most of them: each "
        "of its pairs is a gate. A *shadow* ([proofs](../proofs.md)) repeats a part of the trunk, its weights shared.",
        "",
        "| files | of them | growth | largest | record | names | nodes | constants | outputs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    low = 0
    for high, title in BANDS:
        found = [row for row in rows if low <= row.before < high]
        low = high
        for kind, group in (
            (title, [row for row in found if row.attachment != "shadow"]),
            (f"{title}, with a shadow", [row for row in found if row.attachment == "shadow"]),
        ):
            if group:
                cells = [
                    f"{statistics.median(getattr(row, part) for row in group):,.0f}"
                    for part in ("record", "names", "nodes", "constants", "outputs")
                ]
                middle = statistics.median(row.after - row.before for row in group)
                share = statistics.median(row.share for row in group)
                worst = max(row.share for row in group)
                lines.append(
                    f"| {kind} | {len(group)} | {middle:,.0f}, {share:.2%} | {worst:.1%} | {' | '.join(cells)} |"
                )
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="default: every third file of the zoo, and the real models")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    real = sorted((ZOO.parent / "real").glob("**/*.onnx"))
    files = options.files or [*[ZOO / entry["file"] for entry in read_catalogue(ZOO)][::3], *real]
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for path in files if (row := measure(path, Path(folder))) is not None]
    text = report(rows)
    print(text)
    if options.markdown:
        (ROOT / options.markdown).write_text(text, encoding="utf-8")
    large = [row for row in rows if row.before >= BANDS[-2][0] and row.share > SHARE]
    for row in large:
        print(f"{row.file}: {row.share:.1%} of {row.before} bytes")
    return int(bool(large))


if __name__ == "__main__":
    sys.exit(main())
