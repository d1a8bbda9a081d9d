"""An audited run under secure aggregation over real TLS: it passes, can be derived again, and would have shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit.capture.keylog import parse_key_log
from audit.capture.sealing import open_sealed
from audit.findings import Verdict
from secure_fl.app.identity import Roster
from secure_fl.app.secagg.proof import prove_sums
from secure_fl.audited.evidence import WireFacts
from secure_fl.audited.recheck import examined, recheck_bundle
from secure_fl.cli.main import app
from secure_fl.federation.auditor import read_opening_key
from secure_fl.runs import RunRecord
from tests.audit.capture.traffic import need_capture
from tests.federation.adversaries import Careless, forgotten, reused
from tests.federation.conftest import Federation
from tests.federation.test_audited_run import document_of, keys_of, run

SITES = 5

Federate = Callable[..., Federation]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    need_capture()
    home = tmp_path_factory.mktemp("secure")
    return home, run(home, samples=400, test_samples=100, sites=SITES, secagg="full")


def test_an_honest_secure_run_passes_and_its_own_leaks_were_seen(secure: tuple[Path, RunRecord]) -> None:
    document = document_of(secure[1])
    seen = document.examination
    assert document.verdict is Verdict.PASS, (document.reason, seen.findings[:5], seen.blind_spots[:5])
    controls = {each.name: each for each in seen.controls}
    assert len(controls) == 10 and all(each.behaved for each in controls.values())
    assert controls["unmasked"].seen == "masking/unmasked in masked/y"
    assert controls["reused-mask"].seen == "masking/reused in masked/y"


def test_the_report_says_that_only_sums_were_seen_and_what_uniform_words_do_not_prove(
    secure: tuple[Path, RunRecord],
) -> None:
    document = document_of(secure[1])
    assert "sum of the updates" in document.leakage.note
    assert any("prove no security" in each for each in document.scope.not_proven)
    assert not any("norm of the update" in each for each in document.robustness.checks)


def test_whoever_can_open_the_secrets_comes_to_the_same_examination(secure: tuple[Path, RunRecord]) -> None:
    home, record = secure
    key = read_opening_key(keys_of(home).opening_key)
    assert recheck_bundle(record.folder / "audit", document_of(record), key) == ()


def test_an_audit_that_does_not_look_at_masks_does_not_pass(
    secure: tuple[Path, RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, record = secure
    bundle = record.folder / "audit"
    facts = WireFacts.from_bytes((bundle / "evidence.json").read_bytes())
    opening = read_opening_key(keys_of(home).opening_key)
    secrets = parse_key_log(open_sealed((bundle / "sessions.sealed").read_bytes(), opening).decode())
    monkeypatch.setattr("audit.examine.MaskedOverTime.add", lambda *_: [])
    assert examined(facts, bundle / "capture.pcap", secrets).verdict is Verdict.INCOMPLETE


def test_a_site_that_forgot_its_mask_and_one_that_used_it_twice_are_named_with_the_round(federate: Federate) -> None:
    need_capture()
    running = federate("sites=6", "samples=300", "secagg=full", "remote-sites=2", "audit=true")
    running.join(4, Careless(forgotten))
    running.join(5, Careless(reused))
    running.result()
    document = document_of(running.record)
    assert document.verdict is Verdict.FAIL
    found = {(each.rule, each.place.site, each.place.round) for each in document.examination.findings}
    assert found == {
        ("masking/unmasked", "site-4", "1"),
        ("masking/unmasked", "site-4", "2"),
        ("masking/reused", "site-5", "2"),
    }


def test_the_record_proves_its_sums_by_the_roster_of_a_site(secure: tuple[Path, RunRecord]) -> None:
    home, record = secure
    roster = home / "federation" / "sites" / "site-0" / "roster.json"
    keys = {each.index: bytes.fromhex(each.identity_key) for each in Roster.read(roster).entries}
    proof = prove_sums(record, keys)
    assert (proof.summed, proof.faults) == (record.config.rounds, ())
    told = CliRunner().invoke(app, ["--home", str(home), "runs", "verify", record.id, "--roster", str(roster)])
    assert told.exit_code == 0 and "2 secure sums in 2 attempts" in told.output, told.output


def test_another_federations_roster_does_not_stand_for_this_run(secure: tuple[Path, RunRecord]) -> None:
    _, record = secure
    strangers = {index: bytes(31) + bytes([index]) for index in range(SITES)}
    assert {each.what for each in prove_sums(record, strangers).faults} >= {
        "keys that their site did not sign for this slot",
        "a signature under the survivors that is not that of a survivor",
    }
