"""The parts of the page of ``repooled.py``: by kind of head and aggregator, and file by file of others' models."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import pages
from tests.references.zoo import ZOO

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = "python -m benchmarks.repooled --markdown docs/benchmarks/repooled.md"
KEYS = ("max", "lse", "topk=0.2", "softmax_weighted", "median", "noisy_or", "generalized_mean=3", "prob_mean")
#: How a reason begins that counts against the program.
FAILED = "failed: "
#: By part of the page: its heading, and the folders that its files lie in.
PARTS = {
    "zoo": ("Sample models and zoo", (pages.ROOT / "sample_models", ZOO)),
    "real": ("Models made by others", (ZOO.parent / "real" / "models",)),
}
#: Kinds of head, in the order of the page.
GROUPS = ("exact", "conditional", "flattened", "quantized")


@dataclass
class Row:
    """One file by one aggregator.

    Attributes:
        file: its path below its folder.
        group: its kind of head; or what became of it, where no aggregator was tried.
        key: the aggregator; "" where none was tried.
        gap: the largest difference.
        allowed: of it.
        why: it was refused, or failed; "" where it was repooled.
    """

    file: str
    group: str
    key: str
    gap: float = 0.0
    allowed: float = 0.0
    why: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it counts against the program."""
        return self.why.startswith(FAILED) or self.gap > self.allowed


def marks(part: str) -> tuple[str, str]:
    """The lines around a part of the page."""
    return f"<!-- repooled: {part} -->", f"<!-- /repooled: {part} -->"


def report(part: str, rows: list[Row], absent: Sequence[str] = ()) -> list[str]:
    """A part of the page.

    Args:
        part: of `PARTS`.
        rows: of its files.
        absent: files that were not run.
    """
    files = len({row.file for row in rows})
    made = pages.made_by(f"{COMMAND} --part {part}")
    lines = [f"## {PARTS[part][0]}: {files} files", "", *made]
    if absent:
        names = f": {', '.join(f'`{name}`' for name in absent)}" if part == "real" else ""
        lines += ["", f"**{files} of {files + len(absent)} files were run; the others have yet to be{names}.**"]
    by_group: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.key:
            by_group[row.group].append(row)
    for group in GROUPS:
        own = by_group.get(group, [])
        if own:
            lines += ["", f"### {group.capitalize()}: {len({row.file for row in own})} files ({part})", ""]
            lines += by_file(own) if part == "real" else _table(own)
            refused = Counter(row.why for row in own if row.why)
            lines += ["", *(f"- {count}: {why}" for why, count in refused.items())] if refused else []
    left = [row for row in rows if not row.key]
    if left:
        lines += ["", f"### Not lifted, and so not repooled ({part})", ""]
    for group, count in Counter(row.group for row in left).items():
        named = ", ".join(f"`{row.file}`" for row in left if row.group == group)
        lines.append(
            f"- {count} {'file' if count == 1 else 'files'}: {group}" + (f": {named}" if part == "real" else "")
        )
    return lines


def by_file(own: list[Row]) -> list[str]:
    """A line for each file: how many aggregators equal the formulas, and which is the furthest from them."""
    rows = []
    for file in dict.fromkeys(row.file for row in own):
        cells = [row for row in own if row.file == file]
        good = [row for row in cells if not row.why]
        worst = max(good, key=lambda row: row.gap, default=None)
        equal = f"{sum(not row.wrong for row in good)} of {len(good)}"
        rows.append([f"`{file}`", equal, f"{worst.gap:.1e}" if worst else "", f"`{worst.key}`" if worst else ""])
    return pages.table(["file", "equal", "largest", "by"], rows)


def _table(own: list[Row]) -> list[str]:
    rows = []
    for key in KEYS:
        cells = [row for row in own if row.key == key]
        good = [row for row in cells if not row.why]
        worst = max(good, key=lambda row: row.gap, default=None)
        found = [f"{np.median([row.gap for row in good]):.1e}", f"{worst.gap:.1e}", f"`{worst.file}`"] if worst else []
        counts = [len(good), sum(not row.wrong for row in good), sum(bool(row.why) and not row.wrong for row in cells)]
        rows.append([f"`{key}`", *map(str, counts), *(found or ["", "", ""])])
    return pages.table(["`--with`", "repooled", "equal", "refused", "median", "largest", "in"], rows)
