"""Sessions are listed by names that people know."""

from __future__ import annotations

import pytest

from webui.pages.browsers import browser_name

_KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (f"Mozilla/5.0 (X11; Linux x86_64) {_KIT} Chrome/156.0.0.0 Safari/537.36", "Chrome 156 on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64) {_KIT} Chrome/150.0 Safari/537.36 Edg/150.0", "Edge 150 on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14.1; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 on macOS"),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) {_KIT} Version/18.0 Mobile Safari/604.1", "Safari 18 on iOS"),
        (f"Mozilla/5.0 (Linux; Android 15) {_KIT} Chrome/156.0 Mobile Safari/537.36", "Chrome 156 on Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "unknown"),
    ],
)
def test_a_browser_has_a_name(agent: str, name: str) -> None:
    assert browser_name(agent) == name
