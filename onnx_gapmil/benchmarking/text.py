"""The table of ``bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnx_gapmil.lift.verdict import said_verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onnx_gapmil.benchmarking.results import BenchReport, Measurement, Series
    from onnx_gapmil.benchmarking.timing import Spread

#: A ratio's interval that lies wholly above the bound by more than this is told in yellow.
_ABOVE = 0.02


def bench_note(report: BenchReport) -> RenderableType:
    """Where it was measured, a table for each provider and precision, and how to read it."""
    parts: list[RenderableType] = [_facts(report), Text()]
    for series in report.series:
        parts += [_series(series), Text()]
    parts.append(Text("\n".join(report.method), style="dim"))
    if report.interrupted:
        parts += [Text(), Text("Interrupted: this is what was measured until then.", style="bold yellow")]
    return Group(*parts)


def _facts(report: BenchReport) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    verdict = said_verdict(report.verdict, position_dependent=report.position_dependent, class_token=report.class_token)
    table.add_row("model", Text(f"{report.model}  ({verdict})", style="bold"))
    machine = report.machine
    table.add_row("machine", f"{machine['cpu']}, {machine['threads']} threads, {machine['system']}")
    table.add_row("versions", ", ".join(f"{name} {version}" for name, version in report.versions.items()))
    return table


def _series(series: Series) -> RenderableType:
    provider = series.provider
    where = provider["used"] + (f" ({provider['device']})" if provider["device"] else "")
    what = series.precision + (", converted for this measurement" if series.converted else "")
    title = Text.assemble((where, "bold"), f", {what}, ", _inputs(series), f" ({series.size_source})")
    table = Table.grid(padding=(0, 2))
    for _ in range(2):
        table.add_column()
    for _ in range(6):
        table.add_column(justify="right")
    heads = ("batch", "graph", "ms", "p10 to p90", "images/s", "ratio", "FLOP bound", "peak memory")
    table.add_row(*(Text(head, style="dim") for head in heads))
    last = None
    for entry in series.measurements:
        if last is not None and entry.batch != last:
            table.add_row()
        table.add_row(str(entry.batch) if entry.batch != last else "", *_cells(entry))
        last = entry.batch
    return Group(title, Padding(table, (0, 0, 0, 2)), Padding(Text(_nodes(series), style="dim"), (0, 0, 0, 2)))


def _cells(entry: Measurement) -> tuple[str | Text, ...]:
    return (
        Text(entry.graph, style="bold"),
        _milliseconds(entry.seconds.median),
        f"{_milliseconds(entry.seconds.p10)} to {_milliseconds(entry.seconds.p90)}",
        _rate(entry.images_per_second),
        _ratio(entry.ratio, entry.bound) if entry.ratio is not None else "",
        _bound(entry) if entry.ratio is not None else "",
        _memory(entry),
    )


def _ratio(ratio: Spread, bound: float | None) -> Text:
    above = bound is not None and ratio.low > bound + _ABOVE
    style = "yellow" if above else "cyan"
    return Text.assemble((f"{ratio.median:.3f}", style), f" ({ratio.low:.3f} to {ratio.high:.3f})")


def _bound(entry: Measurement) -> str:
    return f"{entry.bound:.3f}" if entry.bound is not None else "none"


def _memory(entry: Measurement) -> str:
    if entry.memory is None or entry.memory.host_bytes is None:
        return ""
    text = f"{entry.memory.host_bytes / 1e6:,.0f} MB"
    device = entry.memory.device_bytes
    return text if device is None else f"{text}, device {device / 1e6:,.0f} MB"


def _inputs(series: Series) -> str:
    shapes = (f"{name} ({', '.join(['N', *map(str, shape[1:])])}) {kind}" for name, shape, kind in series.size)
    return "; ".join(shapes)


def _nodes(series: Series) -> str:
    """The proof of the provider: who runs how many nodes, said once where all graphs agree but for their number."""
    parts = []
    for graph, counts in series.nodes.items():
        told = ", ".join(f"{name} {count if count is not None else '?'}" for name, count in counts.items())
        parts.append(f"{graph}: {told}")
    return "Nodes by provider: " + "; ".join(parts)


def _milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.1f}"


def _rate(rate: float) -> str:
    return f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}"
