"""A policy drafted from an audit: today's figures less their interval, as limits that the next model must meet."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import count
from onnx_gapmil.validation.checking.figures import Figure, find_figure

if TYPE_CHECKING:
    from onnx_gapmil.validation.checking.evidence import Evidence

#: Figures that a draft holds, with the limit that is meant: least, or most. None is of wrong answers alone: a better
#: model has fewer of them, down to none, so that whatever number of images were asked for, it could not be judged.
_FIGURES = (
    ("top1", "min"),
    ("top5", "min"),
    ("foreground.right.any_top1", "min"),
    ("pointing_game", "min"),
    ("maxboxacc_v2", "min"),
    ("maxboxacc_v1", "min"),
    ("top1_localization", "min"),
    ("background_reliance", "max"),
    ("calibration.ece", "max"),
)
#: Of a figure without an interval, what is added to or taken from it.
_ROOM = 0.02
#: Columns whose slices get a rule, the first ones.
_COLUMNS = 5
#: Images with fewer of which a figure says little.
_FEW = 30


def draft_policy(audit: Evidence, *, places: bool, residual: float | None) -> str:
    """The text of a policy that the audited model meets.

    Args:
        audit: its ``summary.json``.
        places: whether it is proved where its cells look.
        residual: how far the mean over cells may be from a logit; None where that is not proved.
    """
    content = audit.content
    lines = [
        f"# Drafted from an audit of {Path(str(content.get('model'))).name} on {_images(content.get('images'))}: "
        "today's",
        "# figures less their 95 % interval. Edit the limits to what the product needs, and commit this file.",
        "schema_version = 1",
        "",
        "[model]",
        f'verdict = ["{content.get("verdict")}"]',
    ]
    if content.get("preprocess_assumed") is False:
        lines.append('preprocessing = "stated"')
    if places:
        lines.append("places = true")
    if residual is not None:
        lines.append(f"max_residual = {residual:g}")
    for metric, kind in _FIGURES:
        lines += _rule(content, metric, kind)
    lines += _slice_rules(content)
    lines += [
        "",
        "# No rule on wrong answers alone (foreground.wrong, recoverable, error_causes): a better model has fewer of",
        "# them, and with too few it could not be judged.",
        "",
        "# With --baseline SUMMARY: no worse than it was.",
        "# [[require]]",
        '# metric = "top1"',
        "# max_drop = 0.01",
        "",
        "# With --compare OUT: few answers change, and no class is lost.",
        "# [[require]]",
        '# metric = "compare.flips.share"',
        "# max = 0.05",
        "#",
        "# [[require]]",
        '# metric = "compare.accuracy.difference"',
        '# slice = "worst:class"',
        "# min = -0.2",
    ]
    return "\n".join(lines) + "\n"


def _slice_rules(content: Mapping[str, Any]) -> list[str]:
    """For each of the first columns: its worst slice is no worse than today's less its interval.

    A column with a slice of few images would not be judged, so that its rule is left to whoever adds images.
    """
    slices = content.get("slices")
    lines: list[str] = []
    for column, parts in list(slices.items())[:_COLUMNS] if isinstance(slices, Mapping) else ():
        if not isinstance(parts, Mapping) or not all(isinstance(part, Mapping) for part in parts.values()):
            continue
        found = [(str(value), find_figure(part, "top1", "summary.json")) for value, part in parts.items()]
        known = [(value, figure) for value, figure in found if isinstance(figure, Figure)]
        if not known or len(known) != len(found) or column != column.strip() or not column.isprintable():
            continue
        fewest = min(figure.images or 0 for _, figure in known)
        lowest = min((figure.interval or (figure.value - _ROOM, 0.0))[0] for _, figure in known)
        worst, figure = min(known, key=lambda entry: entry[1].value)
        rule = [
            "[[require]]",
            f'metric = "top1"          # {figure.value:.4g} in the worst of {len(known)} slices, {visible(worst)}',
            f"slice = {json.dumps(f'worst:{column}', ensure_ascii=False)}",
            f"min = {math.floor(1000 * lowest) / 1000:g}",
            f"min_images = {max(fewest // 2, _FEW // 2)}",
        ]
        if fewest < _FEW:
            rule = [f"# A slice has {fewest} images only: too few to judge {len(known)} slices by.", *rule]
            rule = [line if line.startswith("#") else f"# {line}" for line in rule]
        lines += ["", *rule]
    return lines


def _rule(content: Mapping[str, Any], metric: str, kind: str) -> list[str]:
    figure = find_figure(content, metric, "summary.json")
    if isinstance(figure, str) or (figure.images is not None and figure.images < _FEW):
        return []
    low, high = figure.interval or (figure.value - _ROOM, figure.value + _ROOM)
    limit = math.floor(1000 * low) / 1000 if kind == "min" else math.ceil(1000 * high) / 1000
    images = [] if figure.images is None else [f"min_images = {figure.images // 2}"]
    return [
        "",
        "[[require]]",
        f'metric = "{metric}"          # {figure.value:.4g} in the audit',
        f"{kind} = {limit:g}",
        *images,
    ]


def _images(number: object) -> str:
    return count(number, "image") if isinstance(number, int) else "images of unknown number"
