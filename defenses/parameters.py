"""What a parameter may be, said once: each check names the step, the parameter and the value that it refuses."""

from __future__ import annotations

from defenses.base import DefenseError

__all__ = ["at_least", "whole", "within"]

# Keyword arguments, so that the message can name the parameter.


def at_least(least: float, step: str, **parameters: float) -> None:
    """Refuse a parameter below `least`."""
    for name, value in parameters.items():
        if not value >= least:
            raise DefenseError(f"{step}({name}={value:g})", f"{name} is at least {least:g}", f"raise {name}")


def within(least: float, most: float, step: str, **parameters: float) -> None:
    """Refuse a parameter outside of [least, most]."""
    for name, value in parameters.items():
        if not least <= value <= most:
            why = f"{name} lies between {least:g} and {most:g}"
            raise DefenseError(f"{step}({name}={value:g})", why, f"choose {name} within")


def whole(least: int, step: str, **parameters: float) -> None:
    """Refuse a parameter that is no whole number, or below `least`."""
    for name, value in parameters.items():
        if value != int(value) or value < least:
            why = f"{name} is a whole number of at least {least}"
            raise DefenseError(f"{step}({name}={value:g})", why, f"choose {name}={max(least, round(value))}")
