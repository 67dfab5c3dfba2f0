"""What all tests share: where the model zoo is, whether CUDA works, and Hypothesis' profiles."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, expect, sync_playwright

from tools.report_screenshot import BROWSERS, FLAGS, find_browser

#: What is kept between runs is kept between these tests alone.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="gapmil-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

# Containers often forbid bytecode beside the sources: each program that a test starts would compile all of them anew.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    os.environ["PYTHONPYCACHEPREFIX"] = os.environ["XDG_CACHE_HOME"]

# A shell starts what runs in its background with interrupts ignored; programs that tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@functools.cache
def _no_shared_zoo() -> str | None:
    """Why tests of the shared zoo cannot run; None if they can."""
    return None if SHARED.is_dir() else f"the shared model zoo is not at {SHARED}"


@functools.cache
def _no_cuda() -> str | None:
    """Why tests of CUDA cannot run; None if a trial model really runs there."""
    from onnx_gapmil.ort.providers import cuda_status

    problem = cuda_status().problem
    return None if problem is None else f"CUDA does not work here: {problem.what}"


@functools.cache
def _no_remote() -> str | None:
    """Why tests of data behind URLs cannot run; None if the extra and its test server are there."""
    lacking = [
        name
        for name in ("fsspec", "s3fs", "gcsfs", "moto", "flask", "gcp_storage_emulator")
        if importlib.util.find_spec(name) is None
    ]
    return f"NO EXTRA [remote]: {', '.join(lacking)} not installed; run make test-extras" if lacking else None


@functools.cache
def _no_ray() -> str | None:
    """Why tests of runs on a Ray cluster cannot run; None if the extra is there."""
    lacking = importlib.util.find_spec("ray") is None
    return "NO EXTRA [ray]: ray not installed; run make test-extras" if lacking else None


def pytest_report_header() -> list[str]:
    """Say at the top which tests this machine cannot run: a silent skip looks like a pass."""
    missing = _no_shared_zoo()
    return [f"NOTE: tests marked 'shared' are skipped: {missing}"] if missing else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """And again at the end, with their number."""
    missing = _no_shared_zoo()
    if missing is None:
        return
    count = sum(missing in str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    if count:
        terminalreporter.write_line(f"NOTE: {count} tests marked 'shared' did not run: {missing}", yellow=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, reason in (
        ("shared", _no_shared_zoo),
        ("gpu", _no_cuda),
        ("remote", _no_remote),
        ("ray", _no_ray),
    ):
        if item.get_closest_marker(marker) and (missing := reason()) is not None:
            pytest.skip(missing)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the shared model zoo; for tests marked ``shared``."""
    return SHARED


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for the pages of all verbs: playwright runs once in a process."""
    program = find_browser()
    if program is None:
        pytest.skip(f"NO BROWSER: none of {', '.join(BROWSERS)} is on the PATH, so report.html is NOT tested in one")
    expect.set_options(timeout=20_000)  # a loaded machine shows things late, not wrong
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()
