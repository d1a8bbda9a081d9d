"""A bundle appears whole or not at all, readable by its owner only, and never over another one."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.bundle import RESERVED, write_bundle
from audit.report.document import Document
from audit.report.dsse import open_envelope
from audit.report.pdf import NO_PDF, Pdf
from audit.report.statement import PAYLOAD_TYPE, PREDICATE_TYPE
from audit.report.transparency import AuditLog
from audit.verify import verify_bundle
from tests.audit.report import example

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def no_pdf(document: Document) -> Pdf:
    return NO_PDF


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audits.log")


def test_a_bundle_holds_the_evidence_and_what_is_drawn_from_it(tmp_path: Path, log: AuditLog) -> None:
    capture = tmp_path / "run.pcap"
    capture.write_bytes(b"packets" * 1000)
    files = {"wire/capture.pcap": capture, "wire/keys.sealed": b"sealed"}
    made = write_bundle(
        tmp_path / "audits" / "one", example.document(), files, KEY, log, notes={"wire/capture.pcap": "lo"}, pdf=no_pdf
    )
    names = {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()}
    assert names == (RESERVED - {"report.pdf"}) | files.keys()
    assert made.pdf == NO_PDF.note
    assert [(each.name, each.note) for each in made.document.attachments] == [
        ("wire/capture.pcap", "lo"), ("wire/keys.sealed", ""),
    ]  # fmt: skip
    assert made.document.attachments[0].sha256 == hashlib.sha256(b"packets" * 1000).hexdigest()
    found = verify_bundle(made.folder, KEY.public_key())
    assert (found.problems, found.notes) == ((), ())
    assert found.document == made.document


def test_only_the_owner_can_read_a_bundle(tmp_path: Path, log: AuditLog) -> None:
    made = write_bundle(tmp_path / "one", example.small(), {"a/b": b""}, KEY, log, pdf=no_pdf)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (made.folder, *made.folder.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_the_statement_is_in_toto_and_names_every_other_file(tmp_path: Path, log: AuditLog) -> None:
    made = write_bundle(tmp_path / "one", example.small(), {"capture.pcap": b"x"}, KEY, log, pdf=no_pdf)
    envelope = (made.folder / "statement.dsse.json").read_bytes()
    statement = json.loads(open_envelope(envelope, PAYLOAD_TYPE, KEY.public_key()))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == PREDICATE_TYPE
    assert {each["name"]: each["digest"]["sha256"] for each in statement["subject"]} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in made.folder.iterdir()
        if path.name != "statement.dsse.json"
    }
    assert statement["predicate"]["verdict"] == "INCOMPLETE"
    assert statement["predicate"]["examination_sha256"] == made.document.examination_sha256


def test_a_pdf_is_signed_with_the_rest(tmp_path: Path, log: AuditLog) -> None:
    made = write_bundle(tmp_path / "one", example.small(), {}, KEY, log, pdf=lambda _: Pdf(b"%PDF-", "by hand"))
    assert made.pdf == "by hand"
    found = verify_bundle(made.folder, KEY.public_key())
    assert found.ok
    assert "cannot be drawn again" in found.notes[0]
    (made.folder / "report.pdf").write_bytes(b"%PDF.")
    assert not verify_bundle(made.folder, KEY.public_key()).ok


def test_a_bundle_is_never_written_over_another(tmp_path: Path, log: AuditLog) -> None:
    write_bundle(tmp_path / "one", example.small(), {}, KEY, log, pdf=no_pdf)
    with pytest.raises(FileExistsError, match="never written over"):
        write_bundle(tmp_path / "one", example.small(), {}, KEY, log, pdf=no_pdf)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        write_bundle(tmp_path / "link", example.small(), {}, KEY, log, pdf=no_pdf)
    assert len(log.leaves()) == 1


@pytest.mark.parametrize("name", [*sorted(RESERVED), "../out", "/etc/x", "a/../../b", "a//b", "", ".", "a\\b", "a\0b"])
def test_a_name_that_is_reserved_or_leads_out_is_refused(tmp_path: Path, log: AuditLog, name: str) -> None:
    with pytest.raises(ValueError, match=r"needs for itself|no path inside"):
        write_bundle(tmp_path / "in" / "one", example.small(), {name: b"x"}, KEY, log, pdf=no_pdf)
    assert list((tmp_path / "in").iterdir()) == []
    assert log.leaves() == []


def test_what_cannot_be_read_leaves_nothing_behind(tmp_path: Path, log: AuditLog) -> None:
    with pytest.raises(FileNotFoundError):
        write_bundle(tmp_path / "in" / "one", example.small(), {"b": tmp_path / "none"}, KEY, log, pdf=no_pdf)
    assert list((tmp_path / "in").iterdir()) == []


def test_successive_bundles_are_chained_by_the_log(tmp_path: Path, log: AuditLog) -> None:
    made = [write_bundle(tmp_path / str(n), example.small(), {"n": b"%d" % n}, KEY, log, pdf=no_pdf) for n in range(3)]
    assert [(each.proof.previous_size, each.proof.size) for each in made] == [(0, 1), (1, 2), (2, 3)]
    assert made[1].proof.root == made[2].proof.previous_root
    assert all(log.problems(each.proof) == () for each in made)
