"""Under what all figures hold: both models, the data, the classes, the versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.aggregate.activation import said_probabilities
from onnx_gapmil.images.resolve import said_assumption
from onnx_gapmil.lift.verdict import said_verdict
from onnx_gapmil.show.html.formatting import count
from onnx_gapmil.show.html.markup import Child, Markup, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.validation.comparing.result import ComparedModel, Comparison

#: Failures that are listed.
_LISTED = 50


def conditions_section(found: Comparison) -> Markup:
    """Facts, two columns for the two models, then what both share."""
    kept = f"{count(found.images, 'image')} compared, {found.failed:,} kept out"
    shared: list[tuple[str, Child]] = [
        ("Data", [found.data.source, tag("small", kept)]),
        ("Classes", found.aligned_classes.source),
        ("Versions", ", ".join(f"{name} {version}" for name, version in found.versions.items())),
    ]
    if found.notes:
        shared.insert(1, ("Notes", [tag("small", note) for note in found.notes]))
    return tag(
        "section",
        tag("h2", "Compared under these conditions"),
        tag(
            "div",
            tag("div", tag("h3", "Old"), _facts(_model(found.models.old))),
            tag("div", tag("h3", "New"), _facts(_model(found.models.new))),
            class_="versus",
        ),
        _facts(shared),
        _failures(found),
        id="conditions",
        aria_label="Conditions",
    )


def _model(model: ComparedModel) -> list[tuple[str, Child]]:
    cells = " x ".join(map(str, model.grid_shape[2:]))
    said = said_verdict(model.verdict, position_dependent=model.position_dependent)
    assumed = said_assumption(model.preprocess_assumed, model.preprocess_guessed)
    probabilities = said_probabilities(model.activation, independent=model.thresholds is not None)
    return [
        ("File", [model.path, tag("small", f"SHA-256 {model.sha256}")]),
        ("Head", f"output {model.output}: {said}, grid {cells}, pooled by {model.pooled_by}"),
        *([("Probabilities", probabilities)] if probabilities else []),
        (
            "Preprocessing",
            [
                tag("b", f"{assumed}. ", class_="guessed") if assumed else None,
                model.preprocess.describe(),
                tag("small", model.preprocess_source),
            ],
        ),
        ("Labels", model.labels_source or "none"),
        ("Names", model.names_source),
        ("Ran on", f"{model.provider.used}: {model.provider.reason}"),
    ]


def _facts(entries: Sequence[tuple[str, Child]]) -> Markup:
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in entries], class_="facts")


def _failures(found: Comparison) -> Markup | None:
    if not found.failures:
        return None
    listed = found.failures[:_LISTED]
    more = len(found.failures) - len(listed)
    return tag(
        "details",
        tag("summary", f"{count(found.failed, 'image')} kept out"),
        tag("ul", [tag("li", failure.error) for failure in listed]),
        tag("p", f"and {more:,} more, in compare.json") if more else None,
        class_="failures",
    )
