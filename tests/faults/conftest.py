"""A results folder for each test."""

from pathlib import Path

import pytest


@pytest.fixture
def results(tmp_path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"
