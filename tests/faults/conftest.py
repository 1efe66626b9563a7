"""A results folder for each test, and the figures of the whole group at its end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.children import figures


@pytest.fixture(scope="session", autouse=True)
def told(request) -> Iterator[None]:
    """Print what was injected and what was lost."""
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\nfaults injected and losses:")
        for name, count in figures.items():
            print(f"  {count:4}  {name}")


@pytest.fixture
def results(tmp_path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"
