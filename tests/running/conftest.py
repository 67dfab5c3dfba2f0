"""The hand-written rewritten model, for tests of sessions."""

from tests.helpers.rewritten_toy import pytest_runtest_setup, toy

__all__ = ["pytest_runtest_setup", "toy"]
