"""The OpenAPI document, read once."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml

__all__ = ["openapi"]


@cache
def openapi() -> dict[str, Any]:
    """`openapi.yaml` as a mapping; not to be changed."""
    text = (resources.files("webui.api") / "openapi.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document
