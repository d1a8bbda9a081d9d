"""Runs of the recorded home, by what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.webui.conftest import run_ids
from webui.reading.records import Records, Run


@pytest.fixture
def records(recorded: Path) -> Records:
    return Records(recorded)


@pytest.fixture
def plain(records: Records, recorded: Path) -> Run:
    return records.run(run_ids(recorded)["plain"])


@pytest.fixture
def attacked(records: Records, recorded: Path) -> Run:
    return records.run(run_ids(recorded)["attacked"])


@pytest.fixture
def private(records: Records, recorded: Path) -> Run:
    return records.run(run_ids(recorded)["private"])
