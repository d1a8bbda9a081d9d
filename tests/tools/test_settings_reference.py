from pathlib import Path

from secure_fl.config import key_of, setting_fields
from tools.settings_reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


def test_the_page_is_that_of_the_declared_settings():
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python -m tools.settings_reference"


def test_every_setting_has_a_row_with_its_default():
    rows = {line.split("|")[1].strip(" `"): line for line in reference().splitlines() if line.startswith("| `")}
    assert set(rows) == {key_of(each.name) for each in setting_fields()}
    assert (
        "`0.02`" in rows["lr"]
        and "`group`, `batch`, `frozen-batch`" in rows["norm"]
        and "900` s" in rows["round-timeout-s"]
    )
