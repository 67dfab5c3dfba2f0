"""What was measured: model, data, preprocessing, versions; compact."""

from __future__ import annotations

from onnx_gapmil.aggregate.activation import said_probabilities
from onnx_gapmil.auditing.summary import AuditedData, AuditSummary, ProviderUse
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.resolve import said_assumption
from onnx_gapmil.show.html.formatting import count, percent
from onnx_gapmil.show.html.markup import Child, Markup, join, prose, tag

_SHOWN_FAILURES = 100


def conditions_section(summary: AuditSummary) -> Markup:
    """A list of terms, and the images that failed."""
    assumed = said_assumption(summary.preprocess_assumed, summary.preprocess_guessed)
    preprocess = join(
        tag("b", f"{assumed}. ", class_="guessed") if assumed else None,
        _recipe(summary.preprocess),
        tag("small", summary.preprocess_source),
    )
    several = summary.multi_label is not None
    probabilities = said_probabilities(summary.head.activation, independent=several)
    rows: list[tuple[str, Child]] = [
        ("Model", join(tag("code", summary.model), tag("small", f"SHA-256 {summary.model_sha256}"))),
        ("Head", _head(summary)),
        *([("Probabilities", probabilities)] if probabilities else []),
        *[("Weights of the pool", f"{pool.pool}: {pool.describe()}") for pool in summary.head.pool_weights],
        *([("Proved", summary.proof.claim)] if summary.proof is not None else []),
        ("Data", _data(summary.data)),
        ("Images", _images(summary)),
        *([("Size", _size(summary))] if summary.size is not None or summary.stitch > 1 else []),
        ("Preprocessing", preprocess),
        *(
            [("Decoding", "large JPEGs smaller than they are (--fast-decode): not exact")]
            if summary.fast_decode
            else []
        ),
        ("Classes", join(prose(summary.class_map.source), tag("small", prose(summary.names_source)))),
        ("Ran on", _provider(summary.provider)),
        ("Written by", f"onnx-gapmil {summary.versions['onnx-gapmil']}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in summary.versions.items())),
    ]
    return tag(
        "section",
        tag("h2", "What was measured"),
        tag("dl", [tag("div", tag("dt", term), tag("dd", text)) for term, text in rows], class_="facts"),
        _failures(summary),
        id="measured",
        aria_label="What was measured",
    )


def _head(summary: AuditSummary) -> Markup:
    """Verdict, output and the size of the grid; notes below."""
    head = summary.head
    _, classes, rows, columns = head.grid_shape
    parts = [
        summary.verdict,
        f"output {head.output!r}",
        f"{rows}×{columns} cells, {count(classes, 'class', 'classes')}" if isinstance(classes, int) else "",
        "up to rounding" if head.quantized else "",
        "position-dependent" if head.position_dependent else "",
        f"class token ({head.class_token_lift})" if head.class_token else "",
        f"{percent(head.placeless_share, 0)} of an answer has no place, and helps to decide who wins each cell"
        if head.placeless_share is not None
        else "",
    ]
    return join("; ".join(part for part in parts if part), tag("small", head.note) if head.note else None)


def _size(summary: AuditSummary) -> Markup:
    """At which size the model was used, what was changed for it, and whether grids are stitched."""
    size = summary.size
    stitched = (
        f"the grids are stitched of shifted runs, {summary.stitch} times as fine; answers are the unshifted image's"
    )
    return join(
        "; ".join([*([size.describe()] if size is not None else []), *([stitched] if summary.stitch > 1 else [])]),
        [tag("small", change) for change in (size.changes if size is not None else ())],
    )


def _data(data: AuditedData) -> Markup:
    return join(data.source, [tag("small", note) for note in data.notes])


def _images(summary: AuditSummary) -> str:
    measured = f"{count(summary.images, 'image')} measured"
    return f"{measured}; {summary.failed:,} failed" if summary.failed else measured


def _recipe(value: Preprocess) -> str:
    """The steps in the order in which they are applied."""
    height, width = value.size
    steps = [
        f"{value.resize} to {width}×{height}",
        f"crop {value.crop:g}" if value.crop != 1 else None,
        value.interpolation,
        f"{value.layout} {value.color} {value.dtype}",
        f"(pixel × {value.scale:g} − {_numbers(value.mean)}) / {_numbers(value.std)}",
    ]
    return "; ".join(step for step in steps if step)


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"


def _provider(provider: ProviderUse) -> Markup:
    nodes = ", ".join(f"{name} {number}" for name, number in provider.nodes.items())
    return join(
        ", ".join(part for part in (provider.used, provider.device) if part),
        tag("small", provider.reason) if provider.reason else None,
        tag("small", f"nodes: {nodes}") if nodes else None,
    )


def _failures(summary: AuditSummary) -> Markup | None:
    failures = summary.failures
    if not failures:
        return None
    more = len(failures) - _SHOWN_FAILURES
    return tag(
        "details",
        tag("summary", f"The {count(len(failures), 'image')} that could not be measured"),
        tag(
            "ul",
            [tag("li", tag("code", item.image), " ", item.error) for item in failures[:_SHOWN_FAILURES]],
            tag("li", f"and {more:,} more, in summary.json") if more > 0 else None,
        ),
        class_="failures",
    )
