"""The wiretap: what it cannot capture it says, and its secrets end with it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from audit.capture.account import CaptureUnavailable
from audit.findings import Verdict
from secure_fl.audited.evidence import WireFacts
from secure_fl.audited.recheck import examined
from secure_fl.audited.schema import Extent, wire_schema
from secure_fl.config import RunConfig
from secure_fl.errors import FederationError
from secure_fl.federation import auditing
from secure_fl.federation.auditing import Wiretap
from secure_fl.federation.pki import FederationKeys, provision


@pytest.fixture
def keys(tmp_path: Path) -> FederationKeys:
    return provision(tmp_path / "federation", sites=1, hosts=[])


def test_without_the_right_to_capture_the_run_goes_on_and_its_audit_cannot_pass(
    keys: FederationKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise CaptureUnavailable("packets can be captured by root only")

    monkeypatch.setattr(auditing.CaptureProcess, "__enter__", refuse)
    with Wiretap(tmp_path / "capture", keys) as wiretap:
        wiretap.listen("127.0.0.1", 9)
        wiretap.stop()
        (spot,) = wiretap.blind_spots
    assert spot.rule == "capture/unavailable" and "by root only" in spot.message
    facts = WireFacts(9, {}, wire_schema(RunConfig(), Extent("run", 1, 1)), (), (spot,))
    assert WireFacts.from_bytes(facts.to_bytes()) == facts
    assert examined(facts, tmp_path / "none.pcap", {}).verdict is Verdict.INCOMPLETE


def test_an_audit_that_ca_key_is_missing_for_is_refused_and_leaves_no_folder_behind(
    keys: FederationKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "_MEMORY", tmp_path)
    (keys.folder / "ca.key").unlink()
    with pytest.raises(FederationError, match=r"ca\.key is needed to audit a run"):
        Wiretap(tmp_path / "capture", keys)
    assert [each.name for each in tmp_path.iterdir()] == ["federation"]


def test_controls_that_cannot_be_sent_are_a_blind_spot(keys: FederationKeys, tmp_path: Path) -> None:
    from audit.controls.plan import Saying, control_plan

    with Wiretap(tmp_path / "capture", keys) as wiretap:
        wiretap.send_controls("127.0.0.1:9", control_plan(Saying()))
        assert [each.rule for each in wiretap.blind_spots] == ["controls/not-sent"]


def test_the_key_log_is_private_and_ends_with_the_wiretap(keys: FederationKeys, tmp_path: Path) -> None:
    with Wiretap(tmp_path / "capture", keys) as wiretap:
        assert stat.S_IMODE(wiretap.key_log.stat().st_mode) == 0o600
        assert stat.S_IMODE(wiretap.key_log.parent.stat().st_mode) == 0o700
    assert not wiretap.key_log.parent.exists() and not wiretap.folder.exists()
