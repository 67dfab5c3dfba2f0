"""Real audits, run once: the tests of the page look at these, and at variants of what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_gapmil.auditing.page import Report
from tests.helpers import audited_reports


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the audit of digits lies."""
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="session")
def digits(digits_folder: Path) -> Report:
    """60 digit scenes."""
    return audited_reports.digits(digits_folder, 60)


@pytest.fixture(scope="session")
def scenes_folder(digits: Report, digits_folder: Path) -> Path:
    """The photos of `digits`, whose page does not say where they lie."""
    return digits_folder / "scenes"


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """1,000 images and 1,000 classes."""
    return audited_reports.many_classes(tmp_path_factory.mktemp("many"), classes=1000, images=1000)


@pytest.fixture(scope="session")
def flattened(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A head with weights of its own for each cell."""
    return audited_reports.flattened(tmp_path_factory.mktemp("flattened"))
