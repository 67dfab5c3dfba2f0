"""What an audit says of classes in sentences: what is present at once, and what is likely swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.files.wording import count, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.auditing.summary import AuditSummary
    from onnx_gapmil.metrics.swaps import LikelySwap

#: Classes that are told one by one.
_WORST = 5


def swap_sentence(swap: LikelySwap, names: Mapping[int, str]) -> str:
    """That classes are likely exchanged, by what, and what to look at.

    Args:
        swap: the classes.
        names: of classes, by number; those that are not there are shown by number.
    """
    said = [f"'{names.get(index, f'class {index}')}' ({index})" for index in swap.classes]
    listed = f"{', '.join(said[:-1])} and {said[-1]}"
    found = (
        f"of {count(swap.images, 'image')} of theirs {swap.right} are answered right, and with the classes exchanged "
        f"it would be {swap.right_if_swapped} (binomial p = {swap.p_value:.1g})"
    )
    advice = "Compare the order of the names (--names) and what each label means (--class-map) with the model's."
    if not swap.both:
        found = found.replace(" of theirs", " of the first, and none of the other,")
        advice += " A model that always answers the second one would look alike."
    way = "swapped" if len(swap.classes) == 2 else "in another order"
    return f"Likely {way}: {listed}: {found}. {advice}"


def multi_label_lines(summary: AuditSummary, names: Mapping[int, str]) -> list[str]:
    """What stands in place of top-1 where classes are present each by itself."""
    found = summary.multi_label
    if found is None:
        return []
    low, high = summary.intervals["multi_label.mean_average_precision"]
    micro, macro = found.micro, found.macro
    lines = [
        f"Several labels at once ({count(found.labels, 'label')} on {count(found.images, 'image')}, of "
        f"{count(found.classes, 'class')}): mean average "
        f"precision {percent(found.mean_average_precision)} (95 % interval {percent(low)} to {percent(high)}; a "
        f"ranking by chance gets {percent(found.chance)}).",
        f"At {_thresholds(summary)}: precision {percent(micro.precision)}, recall {percent(micro.recall)}, F1 "
        f"{percent(micro.f1)} over all labels; means over classes {percent(macro.precision)}, "
        f"{percent(macro.recall)}, {percent(macro.f1)}. Of {percent(found.exact)} of the images exactly the labels are "
        "said.",
    ]
    if found.none_present or found.without_label:
        lines.append(
            f"No class is present in {found.none_present} images; {found.without_label} have no label, of which "
            f"{found.none_right} are answered so."
        )
    if found.unlabelled:
        total = found.classes + found.unlabelled
        lines.append(
            f"{found.unlabelled} of the model's {total} classes label no image and are not judged; "
            "one that is said is a class too many."
        )
    if len(found.by_class) > 1:
        worst = sorted(found.by_class.items(), key=lambda entry: entry[1].average_precision)[:_WORST]
        rows = [
            f"{names.get(int(index), f'class {index}')} {percent(row.average_precision)} (chance "
            f"{percent(row.prevalence)})"
            for index, row in worst
        ]
        lines.append(f"Lowest average precision: {', '.join(rows)}.")
    return lines


def _thresholds(summary: AuditSummary) -> str:
    levels = summary.head.thresholds
    return f"the threshold {levels:g}" if isinstance(levels, float | int) else "each class's own threshold"
