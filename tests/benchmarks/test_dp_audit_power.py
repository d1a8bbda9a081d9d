"""The benchmark of the privacy audit, with few audits: its figures and bars are there and clear."""

from __future__ import annotations

from benchmarks.dp_audit_power import RATIOS, measure_canaries, measure_noise
from benchmarks.report import Report


def test_few_audits_already_clear_the_bars():
    report = Report("dp_audit_power", {})
    measure_noise(report, 40, 40)
    measure_canaries(report, 20, 20)
    assert all(each.ok for each in report.bars), [each.name for each in report.bars if not each.ok]
    for name in RATIOS:
        assert f"noise test at {name}: flagged" in report.figures
        assert f"one run at {name}: ε at least" in report.figures
