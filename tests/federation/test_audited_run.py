"""Audited runs over real TLS: a clean one passes and can be verified and derived again; leaks are found and named.

Two runs for all tests of this file, since each starts a federation. Both need the right to capture packets.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit.capture.keylog import parse_key_log
from audit.capture.pcap import PcapWriter, read_packets
from audit.capture.sealing import open_sealed
from audit.detect.scan import Scan
from audit.findings import BlindSpot, Finding, Place, Verdict
from audit.report.document import Document
from audit.verify import verify_bundle
from secure_fl.audited.evidence import WireFacts
from secure_fl.audited.recheck import examined, recheck_bundle
from secure_fl.cli.main import app
from secure_fl.config_sources import resolve
from secure_fl.errors import IntegrityError
from secure_fl.federation.auditor import AuditorKeys, read_opening_key, read_verifying_key
from secure_fl.federation.launch import execute
from secure_fl.runs import RunRecord
from tests.audit.capture.traffic import need_capture

LEAKS = ("leak_jpeg", "leak_pixels", "leak_metric", "leak_text", "leak_base64", "leak_split")


def run(home: Path, **settings: object) -> RunRecord:
    resolved = resolve(flags={"audit": True, **settings}, environ={}, preset="smoke")
    record = RunRecord.create(home, resolved, command=("test",))
    execute(record, home)
    return record


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    need_capture()
    home = tmp_path_factory.mktemp("clean")
    return home, run(home, samples=400, test_samples=100)


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunRecord, Document]]:
    need_capture()
    home = tmp_path_factory.mktemp("leaking")
    record = run(home, samples=500, test_samples=60, sites=7, attack="+".join(LEAKS), attackers=6)
    yield record, document_of(record)
    shutil.rmtree(home)


def document_of(record: RunRecord) -> Document:
    return Document.from_bytes((record.folder / "audit" / "document.json").read_bytes())


def keys_of(home: Path) -> AuditorKeys:
    return AuditorKeys(home / "federation" / "auditor")


def test_a_clean_run_passes_with_every_byte_accounted_for_and_every_control_as_it_must(
    clean: tuple[Path, RunRecord],
) -> None:
    _, record = clean
    document, seen = document_of(record), document_of(record).examination
    assert document.verdict is Verdict.PASS, (document.reason, seen.findings[:5], seen.blind_spots[:5])
    assert seen.ledger.unaccounted_bytes == 0 and seen.ledger.captured_bytes > 500_000
    assert all(session.decrypted and session.version == "TLS 1.3" for session in seen.sessions)
    assert {session.site for session in seen.sessions} == {"site-0", "site-1", "site-2", "audit-control"}
    assert len(seen.controls) == 8 and all(control.behaved for control in seen.controls)
    assert {flow.round for flow in seen.flows} >= {"join", "1", "2"}
    finished = record.events()[-1]
    assert (finished.kind, finished["verdict"]) == ("audit-finished", "PASS")


def test_the_papers_search_finds_nothing_of_the_pictures_that_were_sent_and_ours_finds_each(
    clean: tuple[Path, RunRecord],
) -> None:
    rows = document_of(clean[1]).searches.rows
    assert len(rows) == 7
    assert all(row.paper_hits == 0 and row.ours_hits == 1 for row in rows)


def test_whoever_has_the_public_key_can_verify_the_bundle(clean: tuple[Path, RunRecord]) -> None:
    home, record = clean
    found = verify_bundle(record.folder / "audit", read_verifying_key(keys_of(home).verifying_key))
    assert found.ok, found.problems


def test_the_command_line_verifies_and_rechecks(clean: tuple[Path, RunRecord], tmp_path: Path) -> None:
    home, record = clean
    keys, bundle = keys_of(home), record.folder / "audit"
    arguments = ["audit", "verify", str(bundle), "--key", str(keys.verifying_key)]
    told = CliRunner().invoke(app, [*arguments, "--recheck", "--opening-key", str(keys.opening_key)])
    assert told.exit_code == 0, told.output
    assert "verdict   PASS" in told.output and "tells the same" in told.output
    assert CliRunner().invoke(app, [*arguments, "--recheck"]).exit_code == 4
    copied = shutil.copytree(bundle, tmp_path / "audit")
    (copied / "findings.sarif").write_bytes((copied / "findings.sarif").read_bytes() + b" ")
    refused = CliRunner().invoke(app, ["audit", "verify", str(copied), "--key", str(keys.verifying_key)])
    assert refused.exit_code == 1 and "findings.sarif" in refused.output


def test_whoever_can_open_the_secrets_comes_to_the_same_examination(clean: tuple[Path, RunRecord]) -> None:
    home, record = clean
    key = read_opening_key(keys_of(home).opening_key)
    assert recheck_bundle(record.folder / "audit", document_of(record), key) == ()


def test_a_capture_without_one_packet_is_not_the_one_that_was_examined(
    clean: tuple[Path, RunRecord], tmp_path: Path
) -> None:
    home, record = clean
    bundle = shutil.copytree(record.folder / "audit", tmp_path / "audit")
    capture = bundle / "capture.pcap"
    data = capture.read_bytes()
    capture.write_bytes(data[: len(data) // 2])
    found = recheck_bundle(bundle, document_of(record), read_opening_key(keys_of(home).opening_key))
    assert any("verdict" in each for each in found)


@dataclass(frozen=True)
class Again:
    """The clean run's evidence, to be examined again with a part of it, or of the audit, missing."""

    facts: WireFacts
    capture: Path
    secrets: Mapping[bytes, Mapping[str, bytes]]

    def verdict(self) -> Verdict:
        return examined(self.facts, self.capture, self.secrets).verdict


@pytest.fixture(scope="module")
def again(clean: tuple[Path, RunRecord]) -> Again:
    home, record = clean
    bundle = record.folder / "audit"
    key = read_opening_key(keys_of(home).opening_key)
    secrets = parse_key_log(open_sealed((bundle / "sessions.sealed").read_bytes(), key).decode())
    return Again(WireFacts.from_bytes((bundle / "evidence.json").read_bytes()), bundle / "capture.pcap", secrets)


def test_the_evidence_alone_gives_the_verdict(again: Again) -> None:
    assert again.verdict() is Verdict.PASS


class Blind:
    """Stands where a search stood, and finds nothing."""

    blind_spots: tuple[BlindSpot, ...] = ()

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def feed(self, *_: object) -> list[Finding]:
        return []

    add = search = feed

    def close(self) -> list[Finding]:
        return []


@pytest.mark.parametrize(
    "stage",
    [
        {"audit.examine.scan_report": lambda *_: Scan((), (), 0), "audit.examine.StreamScanner": Blind},
        {"audit.detect.scan.TEXTS": ()},
        {"audit.examine._SaidOverTime": Blind},
        {"audit.examine.inspect_array": lambda *_: []},
        {"audit.detect.fingerprints.ImageIndex.search": lambda *_: []},
        {"audit.detect.schema.Schema.check_message": lambda *_: []},
    ],
    ids=["files", "encodings", "over-messages", "pixels", "known-pictures", "schema"],
)
def test_an_audit_with_one_stage_switched_off_does_not_pass(
    again: Again, monkeypatch: pytest.MonkeyPatch, stage: dict[str, object]
) -> None:
    for name, blind in stage.items():
        monkeypatch.setattr(name, blind)
    assert again.verdict() is Verdict.INCOMPLETE


def test_an_audit_that_complains_of_the_clean_control_does_not_pass(
    again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complain(array: object, place: Place) -> list[Finding]:
        return [Finding("pixels/f4", "", place)] if place.round.startswith("control-") else []

    monkeypatch.setattr("audit.examine.inspect_array", complain)
    assert again.verdict() is Verdict.INCOMPLETE


def test_without_the_secret_of_one_session_the_audit_does_not_pass(again: Again) -> None:
    for random in list(again.secrets)[:3]:
        others = {key: value for key, value in again.secrets.items() if key != random}
        assert replace(again, secrets=others).verdict() is Verdict.INCOMPLETE


def test_without_the_controls_session_the_audit_does_not_pass(again: Again, tmp_path: Path) -> None:
    # The controls come last: without the last third of the packets they are missing, and more with them.
    packets = list(read_packets(again.capture))
    with (tmp_path / "cut.pcap").open("wb") as stream:
        writer = PcapWriter(stream, packets[0].link_type)
        for packet in packets[: 2 * len(packets) // 3]:
            writer.write(int(packet.time_s * 1e9), packet.data)
    assert replace(again, capture=tmp_path / "cut.pcap").verdict() is Verdict.INCOMPLETE


def test_what_the_kernel_dropped_is_enough_not_to_pass(again: Again) -> None:
    lossy = tuple(replace(each, kernel_drops=1) for each in again.facts.captures)
    assert replace(again, facts=replace(again.facts, captures=lossy)).verdict() is Verdict.INCOMPLETE


def test_secrets_leave_the_run_sealed_only(clean: tuple[Path, RunRecord], tmp_path: Path) -> None:
    home, record = clean
    sealed = (record.folder / "audit" / "sessions.sealed").read_bytes()
    assert b"TRAFFIC_SECRET" not in sealed
    for path in home.rglob("*"):
        if path.is_file():
            assert b"CLIENT_TRAFFIC_SECRET_0" not in path.read_bytes(), path
    assert stat.S_IMODE((record.folder / "audit").stat().st_mode) == 0o700
    assert not (record.folder / "capture").exists()


def test_another_key_opens_nothing(clean: tuple[Path, RunRecord], tmp_path: Path) -> None:
    from secure_fl.federation.auditor import auditor_keys

    stranger = auditor_keys(tmp_path / "stranger")
    with pytest.raises(IntegrityError, match="cannot be opened"):
        recheck_bundle(clean[1].folder / "audit", document_of(clean[1]), read_opening_key(stranger.opening_key))


def test_a_leaking_federation_fails_and_the_honest_site_is_not_among_the_accused(
    leaking: tuple[RunRecord, Document],
) -> None:
    _, document = leaking
    assert document.verdict is Verdict.FAIL
    accused = {finding.place.site for finding in document.examination.findings}
    assert accused == {f"site-{index}" for index in range(1, 7)}
    assert document.examination.blind_spots == () and document.examination.controlled


@pytest.mark.parametrize(
    ("attack", "rule", "path", "via"),
    [
        ("leak_jpeg", "image/jpeg", "update/thumbnail", ()),
        ("leak_pixels", "image/known", "update/u", ()),
        ("leak_metric", "image/known", "metrics/activations", ()),
        ("leak_text", "image/png", "claim/debug", ()),
        ("leak_base64", "image/jpeg", "claim/debug", ("base64",)),
        ("leak_split", "image/png", "claim/debug", ()),
    ],
)
def test_each_leak_is_found_with_site_round_message_and_offset(
    leaking: tuple[RunRecord, Document], attack: str, rule: str, path: str, via: tuple[str, ...]
) -> None:
    site = f"site-{1 + LEAKS.index(attack)}"
    found = [
        each
        for each in leaking[1].examination.findings
        if (each.place.site, each.rule, each.place.path, each.via) == (site, rule, path, via)
    ]
    assert found, [each for each in leaking[1].examination.findings if each.place.site == site]
    assert all(_named(each) for each in found)
    if attack == "leak_base64":
        assert {each.place.offset for each in found} <= {0, 1}
    elif attack != "leak_jpeg":
        assert found[0].place.offset == 0


def _named(finding: Finding) -> bool:
    place = finding.place
    return place.round in ("1", "2") and len(place.message) == 64 and place.direction == "to-coordinator"


def test_the_same_leaks_are_no_fault_of_the_models_guard(leaking: tuple[RunRecord, Document]) -> None:
    record, _ = leaking
    assert record.status() == "succeeded"
