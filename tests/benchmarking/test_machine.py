"""What a measurement was taken on."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import pytest

from onnx_gapmil.benchmarking import machine


def cpuinfo(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    def read_text(path: Path, **_: object) -> str:
        assert path == Path("/proc/cpuinfo")
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read_text)


def test_the_processor_has_the_name_that_linux_gives_its_first_core(monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo(monkeypatch, "processor\t: 0\nmodel\t\t: 85\nmodel name\t: A Chip: 2 GHz\n\nmodel name\t: Another\n")
    assert machine.cpu_name() == "A Chip: 2 GHz"


@pytest.mark.parametrize("text", [None, "processor\t: 0\n", "model name\t:\n"])
@pytest.mark.parametrize(("processor", "name"), [("i386", "i386"), ("", "aarch64")])
def test_elsewhere_it_has_the_name_that_python_knows(
    monkeypatch: pytest.MonkeyPatch, text: str | None, processor: str, name: str
) -> None:
    cpuinfo(monkeypatch, text)
    monkeypatch.setattr(platform, "processor", lambda: processor)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert machine.cpu_name() == name


def test_versions_name_what_decides_on_speed() -> None:
    found = machine.versions()
    assert found["python"] == platform.python_version()
    assert {name: found[name] for name in ("onnx", "numpy")} == {
        name: metadata.version(name) for name in ("onnx", "numpy")
    }
    assert any(name.startswith("onnxruntime") for name in found)
