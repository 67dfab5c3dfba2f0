"""The page of ``gpu.py`` from its JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import pages, shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

Rows = list[tuple[str, ...]]


def markdown(results: dict[str, Any]) -> list[str]:
    """All sections for which there are results."""
    device = _device(results.get("machine", {}))
    lines = ["# On a CUDA card", "", *results.get("made by", []), *([f"Card: {device}."] if device else []), ""]
    lines += [
        "Inputs lie on the card before the clock runs; outputs end in host memory, unless it says otherwise. TF32 is",
        "off but where it says so. Ratios are medians over rounds of pairs that ran one after the other, with the 95 %",
        "interval of that median.",
        "",
    ]
    for title, section in (
        ("What the grid costs", _bench),
        ("Nodes by provider", _nodes),
        ("Equal to the CPU", _equality),
        ("Copies", _copies),
        ("CUDA graphs", _graphs),
        ("TF32", _tf32),
        ("`predict`, decoding and writing included", _predict),
    ):
        body = list(section(results))
        if body:
            lines += [f"## {title}", "", *body, ""]
    failed = [f"- {name}: {entry['error']}" for name, entry in results.items() if _failed(entry)]
    return lines + (["## Not measured", "", *failed, ""] if failed else [])


def _device(machine: dict[str, Any]) -> str:
    devices = machine.get("cuda", {}).get("devices", [])
    return ", ".join(f"{entry['name']}, {entry['memory_bytes'] / 2**30:.0f} GiB" for entry in devices)


def _failed(entry: Any) -> bool:
    return isinstance(entry, dict) and "error" in entry


def _steps(results: dict[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The results of one kind of step, by the model's title."""
    for name, entry in results.items():
        if name.startswith(f"{kind} ") and not _failed(entry):
            model = name.removeprefix(f"{kind} ")
            yield (shapes.SHAPES[model].title if model in shapes.SHAPES else model), entry


def _ratio(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return ""
    low, high = ratio["interval_95"]
    return f"{ratio['median']:.3f} ({low:.3f} to {high:.3f})"


def _bench(results: dict[str, Any]) -> Iterator[str]:
    rows: Rows = []
    for title, entry in _steps(results, "bench"):
        for series in entry["series"]:
            for found in series["measurements"]:
                memory = (found["peak_memory"] or {}).get("device_bytes")
                rows.append(
                    (
                        title,
                        series["precision"],
                        str(found["batch"]),
                        found["graph"],
                        f"{found['milliseconds']['median']:.2f}",
                        f"{found['images_per_second']:,.0f}",
                        _ratio(found["ratio"]),
                        f"{found['flop_bound']:.3f}" if found["flop_bound"] and found["ratio"] else "",
                        f"{memory / 1e6:,.0f} MB" if memory is not None else "",
                    )
                )
    heads = ("model", "precision", "batch", "graph", "ms", "images/s", "ratio", "FLOP bound", "device memory")
    if rows:
        yield from pages.table(heads, rows, numbers_from=4)


def _nodes(results: dict[str, Any]) -> Iterator[str]:
    rows: Rows = []
    for title, entry in _steps(results, "nodes"):
        for graph, found in entry.items():
            nodes = ", ".join(f"{name} {count}" for name, count in found["nodes"].items())
            rows.append((title, graph, nodes, "yes" if found["without_cpu"] else f"no: {found['why']}"))
    if rows:
        yield from pages.table(("model", "graph", "nodes", "loads with the CPU shut out"), rows, numbers_from=4)


def _equality(results: dict[str, Any]) -> Iterator[str]:
    rows: Rows = []
    for title, entry in _steps(results, "equality"):
        for output, found in entry["outputs"].items():
            told = f"{found['difference']:.1e}" if "difference" in found else f"{found['equal']:.2%} equal"
            rows.append((title, f"`{output}`", told, "yes" if found["passed"] else "no"))
    if rows:
        yield "Largest difference over the largest value of the CPU's; integers by the share of equal ones."
        yield ""
        yield from pages.table(("model", "output", "difference", "within tolerance"), rows)


def _copies(results: dict[str, Any]) -> Iterator[str]:
    rows: Rows = []
    notes = []
    for title, entry in _steps(results, "copies"):
        notes.append(f"{title}: the upload of {entry['upload_bytes'] / 1e6:.1f} MB takes {entry['upload_ms']:.3f} ms.")
        for graph, found in entry["graphs"].items():
            times = (f"{found['kept_ms']:.3f}", f"{found['fetched_ms']:.3f}")
            rows.append((title, graph, f"{found['bytes'] / 1e6:.2f}", *times, _ratio(found["ratio"])))
    if rows:
        yield from notes
        yield ""
        yield from pages.table(("model", "graph", "MB out", "ms, kept on the card", "ms, fetched", "ratio"), rows)


def _graphs(results: dict[str, Any]) -> Iterator[str]:
    rows: Rows = []
    for title, entry in _steps(results, "cuda graphs"):
        for graph, found in entry.items():
            if "refused" in found:
                rows.append((title, graph, "", "", found["refused"]))
            else:
                times = (f"{found['plain_ms']:.3f}", f"{found['replayed_ms']:.3f}")
                rows.append((title, graph, *times, _ratio(found["ratio"])))
    if rows:
        yield "Batch 1, outputs kept on the card: every node launched by itself, against one captured graph."
        yield ""
        yield from pages.table(("model", "graph", "ms, off", "ms, on", "ratio"), rows)


def _tf32(results: dict[str, Any]) -> Iterator[str]:
    rows: Rows = []
    for title, entry in _steps(results, "tf32"):
        changed = max(entry["difference"].values())
        times = (f"{entry['float32_ms']:.3f}", f"{entry['tf32_ms']:.3f}")
        rows.append((title, *times, _ratio(entry["ratio"]), f"{changed:.1e}"))
    if rows:
        yield from pages.table(("model", "ms, float32", "ms, TF32", "ratio", "largest difference"), rows)


def _predict(results: dict[str, Any]) -> Iterator[str]:
    rows: Rows = []
    for title, entry in _steps(results, "predict"):
        for kind, found in entry.items():
            if isinstance(found, dict):
                rate = f"{found['images_per_second']:,.0f}"
                bare = f"{entry['bare_images_per_second']:,.0f}"
                rows.append((title, kind, rate, bare, f"{found['of_bare']:.2f}"))
    if rows:
        yield "JPEG photos of 640x480; the bare session at its best batch."
        yield ""
        yield from pages.table(("model", "writes", "images/s", "bare session", "of it"), rows, numbers_from=2)
