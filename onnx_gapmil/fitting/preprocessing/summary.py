"""Turn the entries of a search into a `Ranking`, with a sentence for people."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_gapmil.files.wording import are
from onnx_gapmil.files.wording import count as counted
from onnx_gapmil.fitting.preprocessing.ranking import Ranking, RankingRow, resizing
from onnx_gapmil.fitting.preprocessing.scoring import RESIZING_SIGNIFICANCE, VALUES_SIGNIFICANCE, is_worse
from onnx_gapmil.fitting.preprocessing.trials import Entry, Trials
from onnx_gapmil.images.preprocess import Preprocess


def summarize(
    entries: Sequence[Entry], chosen: Entry, *, default: Preprocess, conclusive: bool, trials: Trials
) -> Ranking:
    """Make the ranking.

    Args:
        entries: all, in documented order.
        chosen: one of them.
        default: the preprocessing that ties are broken towards.
        conclusive: whether any entry is better than guessing.
        trials: what was run.
    """
    count = len(trials.photos)
    shown = [entry for entry in entries if _is_shown(entry, entries, chosen)]
    rows = [_row(entry, chosen, count) for entry in shown]
    rows.sort(key=_order)
    return Ranking(
        rows=tuple(rows),
        best=chosen.candidate.preprocess,
        offset=chosen.offset,
        images=count,
        failed=tuple(trials.photos.failed),
        forward_passes=trials.forward_passes,
        conclusive=conclusive,
        sentence=_sentence(rows, default, conclusive, trials),
    )


def _is_shown(entry: Entry, entries: Sequence[Entry], chosen: Entry) -> bool:
    """Of each preprocessing the best offset, and of each offset the best preprocessing."""
    same_preprocess = [one for one in entries if one.candidate == entry.candidate]
    same_offset = [one for one in entries if one.offset == entry.offset and len(one.outcomes) == len(chosen.outcomes)]
    return entry is chosen or any(
        group and entry is max(group, key=lambda one: one.score.key()) for group in (same_preprocess, same_offset)
    )


def _are_tied(one: Entry, other: Entry) -> bool:
    values = one.candidate.name == other.candidate.name and one.offset == other.offset
    level = RESIZING_SIGNIFICANCE if values else VALUES_SIGNIFICANCE
    return not is_worse(one.outcomes, other.outcomes, level) and not is_worse(other.outcomes, one.outcomes, level)


def _row(entry: Entry, chosen: Entry, count: int) -> RankingRow:
    score, complete = entry.score, len(entry.outcomes) == count
    is_chosen = entry is chosen
    return RankingRow(
        name=entry.candidate.name,
        preprocess=entry.candidate.preprocess,
        offset=entry.offset,
        images=len(entry.outcomes),
        top1=score.top1,
        top5=score.top5,
        log_prob=score.log_probability,
        cell_agreement=score.cell_top1,
        cell_top5=score.cell_top5,
        chosen=is_chosen,
        tied=complete and not is_chosen and _are_tied(entry, chosen),
    )


def _order(row: RankingRow) -> tuple[float, ...]:
    return (-row.images, -row.top1, -row.top5, -row.log_prob, -row.cell_agreement, -row.cell_top5)


def _sentence(rows: Sequence[RankingRow], default: Preprocess, conclusive: bool, trials: Trials) -> str:
    count = len(trials.photos)
    on = f"{count} labelled image{'s' if count > 1 else ''}"
    tried = f"{trials.forward_passes} forward passes"
    row = next(row for row in rows if row.chosen)
    if not conclusive:
        return (
            f"None of {len(rows)} candidates is right more often than guessing on {on} ({tried}): the labels may "
            f"not be numbered as the model's classes, or there are too few. The default is kept: {_what(row)}."
        )
    right = f"right on {round(row.top1 * count)} of {on}"
    offset = f", class offset {row.offset}" if row.offset else ""
    found = f"{_what(row)}{offset}: {right}, after {len(rows)} candidates and {tried}."
    return f"{found} {_ties(rows, row, default, count)}"


def _ties(rows: Sequence[RankingRow], row: RankingRow, default: Preprocess, count: int) -> str:
    ties = [other for other in rows if other.tied]
    if not ties:
        return "Every other candidate is certainly worse."
    names = list(dict.fromkeys(tie.name for tie in ties if tie.name != row.name))
    offsets = sorted({tie.offset for tie in ties} - {row.offset})
    what = [f"normalization ({', '.join(names)})"] if names else []
    what += [f"class offset ({', '.join(map(str, offsets))})"] if offsets else []
    others = {resizing(tie.preprocess) for tie in ties} - {row.resizing}
    what += [f"resizing ({counted(len(others), 'other rule')})"] if others else []
    kept = "the default" if row.preprocess == default else "the one that comes first in the documented order"
    return (
        f"{are(len(ties), 'other')} indistinguishable from it on {counted(count, 'image')}, in "
        f"{' and '.join(what)}; of these, {kept} is taken."
    )


def _what(row: RankingRow) -> str:
    return f"{row.name}, {row.preprocess.color}, {row.resizing}"
