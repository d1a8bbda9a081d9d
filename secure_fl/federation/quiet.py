"""Flower without talk: no telemetry, no update check, no installation of dependencies, no deprecation notes.

Must be in force before Flower is imported for the first time in a process; children inherit it.
"""

from __future__ import annotations

import logging
import os

__all__ = ["FLOWER_ENVIRONMENT", "quiet_flower"]

FLOWER_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's own notice about devices that we do not use.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def quiet_flower() -> None:
    """Set the environment of this process, and let only Flower's errors through."""
    os.environ.update(FLOWER_ENVIRONMENT)
    logging.getLogger("flwr").setLevel(logging.ERROR)
