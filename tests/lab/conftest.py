"""A federation that is simulated in a tenth of a second."""

from __future__ import annotations

import pytest

from secure_fl.lab.scenario import Scenario


@pytest.fixture
def small() -> Scenario:
    """Eight clients with 50 digits each, softmax regression, three rounds."""
    return Scenario(
        name="small", model="softmax", samples=450, test_samples=100, root_samples=50, clients=8, rounds=3, lr=0.1
    )
