"""Checks of parameters: keyword arguments, so that the message names the culprit."""

from __future__ import annotations

import math

from attacks.base import AttackError

__all__ = ["byte", "finite", "fractions", "non_negative", "positive", "whole"]


def finite(attack: str, **values: float) -> None:
    """Refuse NaN and infinities."""
    _check(attack, "must be a finite number", {name: math.isfinite(value) for name, value in values.items()}, values)


def positive(attack: str, **values: float) -> None:
    """Refuse what is not a finite number above 0."""
    _check(attack, "must be above 0", {name: 0 < value < math.inf for name, value in values.items()}, values)


def non_negative(attack: str, **values: float) -> None:
    """Refuse what is not a finite number from 0."""
    _check(attack, "must be 0 or more", {name: 0 <= value < math.inf for name, value in values.items()}, values)


def fractions(attack: str, **values: float) -> None:
    """Refuse what does not lie in (0, 1]."""
    _check(attack, "must lie in (0, 1]", {name: 0 < value <= 1 for name, value in values.items()}, values)


def byte(attack: str, **values: float) -> None:
    """Refuse what is not a whole number from 0 to 255."""
    good = {name: 0 <= value <= 255 and value == int(value) for name, value in values.items()}
    _check(attack, "must be a whole number from 0 to 255", good, values)


def whole(attack: str, least: int, **values: float) -> None:
    """Refuse what is not a whole number from `least`."""
    good = {name: math.isfinite(value) and value == int(value) >= least for name, value in values.items()}
    _check(attack, f"must be a whole number from {least}", good, values)


def _check(attack: str, rule: str, good: dict[str, bool], values: dict[str, float]) -> None:
    for name, value in values.items():
        if not good[name]:
            raise AttackError(f"{attack}({name}={value:g})", why=f"{name} {rule}", fix=f"choose another {name}")
