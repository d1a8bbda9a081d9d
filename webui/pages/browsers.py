"""What a browser calls itself, in words that its owner recognises in a list of sessions."""

from __future__ import annotations

import re

__all__ = ["browser_name"]

# In this order: most browsers also claim to be the ones below them.
_BROWSERS = {
    "Edge": r"Edg/(\d+)",
    "Opera": r"OPR/(\d+)",
    "Firefox": r"Firefox/(\d+)",
    "Chrome": r"Chrome/(\d+)",
    "Safari": r"Version/(\d+).*Safari/",
}
_SYSTEMS = {"iOS": "iPhone|iPad", "Android": "Android", "Windows": "Windows", "macOS": "Mac OS X", "Linux": "Linux"}


def browser_name(agent: str) -> str:
    """`Chrome 156 on Linux`; the beginning of what it says where it is none that we know."""
    system = next((f" on {name}" for name, pattern in _SYSTEMS.items() if re.search(pattern, agent)), "")
    for name, pattern in _BROWSERS.items():
        if match := re.search(pattern, agent):
            return f"{name} {match[1]}{system}"
    return agent[:40] or "unknown"
