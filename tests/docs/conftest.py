"""The data sets of tests/data, for the page that describes them."""

from tests.data.conftest import lay, photo

__all__ = ["lay", "photo"]
