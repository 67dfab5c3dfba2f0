"""`onnx-gapmil doctor`: what works on this machine, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import json_option, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from onnx_gapmil.ort.doctor import Diagnosis

_GOOD, _BAD = "[green]✓[/]", "[red]✗[/]"


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
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _rows(diagnosis):
        table.add_row(label, value)
    console.print()
    console.print(table)
    console.print()
    for warning in diagnosis.warnings:
        console.print(f"[bold red]Warning:[/] {warning}", soft_wrap=True)
    console.print(f"[bold]{diagnosis.verdict}[/]", soft_wrap=True)
    if diagnosis.next_step is not None and diagnosis.next_step not in diagnosis.warnings:
        console.print(_plain(diagnosis.next_step), soft_wrap=True)


def _rows(diagnosis: Diagnosis) -> Iterator[tuple[str, RenderableType]]:
    for probe in diagnosis.providers:
        yield (
            f"provider {probe.name}",
            f"{_GOOD} works" if probe.works else f"{_BAD} {_plain(str(probe.failure))}",
        )
    cuda = diagnosis.cuda
    for device in cuda.devices:
        memory = device["memory_bytes"] / 2**30
        yield (
            "device",
            f"{device['name']}, {memory:.0f} GiB, compute capability {device['compute_capability']}",
        )
    if cuda.devices or cuda.driver:
        yield "driver", f"serves CUDA {cuda.driver}; ONNX Runtime is built for {cuda.built_for}"
        yield (
            "libraries",
            "  ".join(f"{_GOOD if found else _BAD} {name}" for name, found in cuda.libraries.items()),
        )
    memory_text = "" if diagnosis.memory_bytes is None else f", {diagnosis.memory_bytes / 2**30:.0f} GiB memory"
    yield "machine", f"{diagnosis.cpu}, {diagnosis.threads} usable threads{memory_text}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items())


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
