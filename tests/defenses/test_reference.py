"""docs/reference/defenses.md says of each rule what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from defenses.registry import PRE_AGGREGATORS, RULES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "defenses.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "entry"), [*RULES.items(), *PRE_AGGREGATORS.items()])
def test_each_guarantee_stands_on_the_page_with_its_parameters(name: str, entry: object) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    guarantee = entry.guarantee  # type: ignore[attr-defined]
    for text in (guarantee.paper, guarantee.tolerates, guarantee.breaks, guarantee.costs):
        assert text in row
    for parameter, default in entry.parameters.items():  # type: ignore[attr-defined]
        wanted = f"`{parameter}` (must be given)" if default is None else f"`{parameter}` = {default:g}"
        assert wanted in row and f"`{parameter}`" in PAGE.split("## Parameters")[1]
