"""`onnx-gapmil doctor`: what works on this machine, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import json_option, print_json
from onnx_gapmil.files.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from onnx_gapmil.ort.doctor import Diagnosis

_GOOD, _BAD = ("✓", "green"), ("✗", "red")


@click.command(name="doctor")
@json_option
def command(as_json: bool) -> int:
    """Say which execution providers really work here, and why CUDA does not.

    Each provider that ONNX Runtime lists runs a small convolution by itself: being listed proves nothing.
    Exit code 0 if any works, 1 if none does.
    """
    from onnx_gapmil.ort.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        print_json(diagnosis.to_json())
    else:
        _print(diagnosis)
    return 0 if diagnosis.works else 1


def _print(diagnosis: Diagnosis) -> None:
    from rich.table import Table
    from rich.text import Text

    from onnx_gapmil.show.terminal.console import console

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _rows(diagnosis):
        table.add_row(label, value)
    parts: list[RenderableType] = [Text(), table, Text()]
    parts += [Text.assemble(("Warning:", "bold red"), " ", warning) for warning in diagnosis.warnings]
    parts.append(Text(diagnosis.verdict, style="bold"))
    if diagnosis.next_step is not None and diagnosis.next_step not in diagnosis.warnings:
        parts.append(Text(diagnosis.next_step))
    console().print(*parts, sep="\n", soft_wrap=True)


def _rows(diagnosis: Diagnosis) -> Iterator[tuple[str, RenderableType]]:
    from rich.text import Text

    def found(there: bool, text: str) -> Text:
        return Text.assemble(_GOOD if there else _BAD, f" {text}")

    for probe in diagnosis.providers:
        yield f"provider {probe.name}", found(probe.works, "works" if probe.works else str(probe.failure))
    cuda = diagnosis.cuda
    for device in cuda.devices:
        memory = device["memory_bytes"] / 2**30
        yield (
            "device",
            f"{device['name']}, {memory:.0f} GiB, compute capability {device['compute_capability']}",
        )
    if cuda.devices or cuda.driver:
        yield "driver", f"serves CUDA {cuda.driver}; ONNX Runtime is built for {cuda.built_for}"
        yield "libraries", Text("  ").join(found(there, name) for name, there in cuda.libraries.items())
    memory_text = "" if diagnosis.memory_bytes is None else f", {diagnosis.memory_bytes / 2**30:.0f} GiB memory"
    yield "machine", f"{diagnosis.cpu}, {count(diagnosis.threads, 'usable thread')}{memory_text}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items())
