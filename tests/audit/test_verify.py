"""Any byte of a bundle that is altered, cut off, removed, added or renamed is noticed, and named.

The exhaustive test flips one bit of every byte of every file of a small bundle. The others forge with the key at hand:
a page that says other than its document must not pass even if its auditor signed it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.bundle import write_bundle
from audit.findings import Verdict
from audit.report.document import Document
from audit.report.dsse import open_envelope, seal_envelope
from audit.report.pdf import NO_PDF
from audit.report.shape import ShapeError, canonical
from audit.report.statement import PAYLOAD_TYPE, Statement, Subject
from audit.report.transparency import AuditLog
from audit.verify import verify_bundle
from tests.audit.report import example

FIELDS = st.sampled_from(
    ["payload", "payloadType", "signatures", "keyid", "sig", "subject", "predicate", "name", "digest", "_type"]
)
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key()
ENVELOPE = "statement.dsse.json"


def written(folder: Path, document: Document, attachments: dict[str, bytes]) -> Path:
    log = AuditLog(folder / "audits.log")
    return write_bundle(folder / "bundle", document, attachments, KEY, log, pdf=lambda _: NO_PDF).folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("small"), example.small(), {"wire/capture.pcap": bytes(40), "keys": b"k"})


@pytest.fixture
def bundle(tmp_path: Path, small: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


def canonical_or_rubbish(value: object) -> bytes:
    try:
        return canonical(value)
    except ShapeError:
        return b"{"


def problems(folder: Path) -> tuple[str, ...]:
    found = verify_bundle(folder, PUBLIC)
    assert found.ok == (found.problems == ())
    assert found.ok or all(found.problems)
    return found.problems


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_an_untouched_bundle_is_good(small: Path) -> None:
    found = verify_bundle(small, PUBLIC)
    assert (found.problems, found.notes) == ((), ())
    assert found.document is not None
    assert found.document.verdict is Verdict.INCOMPLETE


def test_one_changed_bit_in_any_byte_of_any_file_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both are functions of the envelope's bytes and the key alone, and in most turns those are the same: what was
    # accepted once is not computed again. A refusal is an exception, which no cache keeps.
    accepted = functools.cache(lambda data, payload_type: open_envelope(data, payload_type, PUBLIC))
    monkeypatch.setattr("audit.verify.open_envelope", lambda data, payload_type, key: accepted(data, payload_type))
    monkeypatch.setattr(Statement, "from_bytes", functools.cache(Statement.from_bytes))
    bits, tried = random.Random(5), 0  # noqa: S311
    for path in files(bundle):
        content = path.read_bytes()
        with path.open("r+b", buffering=0) as file:
            for at, byte in enumerate(content):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bits.randrange(8)]), at)
                assert problems(bundle), f"{path.name} at {at}"
                os.pwrite(file.fileno(), bytes([byte]), at)
                tried += 1
    assert tried == sum(path.stat().st_size for path in files(bundle)) > 20_000
    assert problems(bundle) == ()


def test_every_value_of_a_byte_is_refused(bundle: Path) -> None:
    with (bundle / "keys").open("r+b", buffering=0) as file:
        for value in set(range(256)) - set(b"k"):
            os.pwrite(file.fileno(), bytes([value]), 0)
            assert problems(bundle) == ("keys: altered; its SHA-256 is not the signed one",)


def test_truncations_and_longer_files_are_refused(bundle: Path) -> None:
    for path in files(bundle):
        content = path.read_bytes()
        step = 1 if len(content) < 100 else len(content) // 60
        for length in range(len(content) - 1, 0, -step):  # ever shorter
            os.truncate(path, length)
            assert problems(bundle)
        for other in (b"", content + b"\n", content + b"\0", content * 2):
            path.write_bytes(other)
            assert problems(bundle)
        path.write_bytes(content)
    assert problems(bundle) == ()


def test_a_missing_file_is_named(bundle: Path) -> None:
    for path in files(bundle):
        content = path.read_bytes()
        path.unlink()
        (problem,) = problems(bundle)
        assert path.name in problem
        path.write_bytes(content)


def test_two_files_that_trade_places_are_refused(bundle: Path) -> None:
    for one in files(bundle):
        for other in files(bundle):
            if one != other:
                first, second = one.read_bytes(), other.read_bytes()
                one.write_bytes(second)
                other.write_bytes(first)
                assert problems(bundle)
                one.write_bytes(first)
                other.write_bytes(second)


def add_file(folder: Path) -> None:
    (folder / "more.txt").write_bytes(b"")


def add_file_below(folder: Path) -> None:
    (folder / "wire" / ".hidden").write_bytes(b"")


def add_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


def rename(folder: Path) -> None:
    (folder / "keys").rename(folder / "Keys")


def link_to_a_copy(folder: Path) -> None:
    shutil.move(folder / "keys", folder.parent / "keys")
    (folder / "keys").symlink_to(folder.parent / "keys")


def link_to_a_folder(folder: Path) -> None:
    shutil.move(folder / "wire", folder.parent / "wire")
    (folder / "wire").symlink_to(folder.parent / "wire")


def link_the_statement(folder: Path) -> None:
    shutil.move(folder / ENVELOPE, folder.parent / ENVELOPE)
    (folder / ENVELOPE).symlink_to(folder.parent / ENVELOPE)


def add_link(folder: Path) -> None:
    (folder / "more").symlink_to("keys")


def pipe(folder: Path) -> None:
    (folder / "keys").unlink()
    os.mkfifo(folder / "keys")


def folder_instead(folder: Path) -> None:
    (folder / "keys").unlink()
    (folder / "keys").mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (add_file, "more.txt: this file was added"),
        (add_file_below, "wire/.hidden: this file was added"),
        (add_folder, "empty/: this folder was added"),
        (rename, "keys: this file is missing"),
        (link_to_a_copy, "keys: a link or device"),
        (link_to_a_folder, "wire: a link or device"),
        (link_the_statement, "cannot be read"),
        (add_link, "more: a link or device"),
        (pipe, "keys: a link or device"),
        (folder_instead, "keys/: this folder was added"),
    ],
)
def test_what_was_added_renamed_or_linked_is_named(bundle: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(bundle)
    assert any(said in problem for problem in problems(bundle)), problems(bundle)


def test_another_key_is_refused_and_so_is_no_bundle(bundle: Path, tmp_path: Path) -> None:
    other = verify_bundle(bundle, Ed25519PrivateKey.generate().public_key())
    assert other.problems == (f"{ENVELOPE}: another key signed this",)
    assert problems(tmp_path / "nothing")
    assert problems(bundle / "keys")


def test_a_hostile_name_cannot_paint_over_the_answer(bundle: Path) -> None:
    (bundle / "\x1b[2Jfine\u202e").write_bytes(b"")
    (problem,) = problems(bundle)
    assert problem == "\\u001b[2Jfine\\u202e: this file was added"


# --- forged by someone who has the key ---------------------------------------------------------------


def statement_of(folder: Path) -> Statement:
    return Statement.from_bytes(open_envelope((folder / ENVELOPE).read_bytes(), PAYLOAD_TYPE, PUBLIC))


def sign_again(folder: Path, change: Callable[[Statement], Statement] = lambda each: each) -> None:
    """Sign what lies in the folder now."""
    names = [path.relative_to(folder).as_posix() for path in files(folder) if path.name != ENVELOPE]
    contents = {name: (folder / name).read_bytes() for name in sorted(names)}
    subjects = tuple(Subject(n, hashlib.sha256(text).hexdigest(), len(text)) for n, text in contents.items())
    forged = change(replace(statement_of(folder), subjects=subjects))
    (folder / ENVELOPE).write_bytes(seal_envelope(PAYLOAD_TYPE, forged.to_bytes(), KEY))


@pytest.mark.parametrize("name", ["report.html", "findings.sarif", "model.cdx.json"])
def test_a_derived_file_must_say_what_the_document_says_even_if_signed(bundle: Path, name: str) -> None:
    path = bundle / name
    path.write_bytes(path.read_bytes().replace(b"INCOMPLETE", b"PASS"))
    sign_again(bundle)
    assert problems(bundle) == (f"{name}: it is not what document.json says",)


def test_a_page_of_another_version_is_not_compared_but_that_is_said(bundle: Path) -> None:
    path = bundle / "report.html"
    path.write_bytes(path.read_bytes().replace(b"<main>", b"<main >"))
    sign_again(bundle, lambda each: replace(each, predicate=replace(each.predicate, renderer_sha256="0" * 64)))
    found = verify_bundle(bundle, PUBLIC)
    assert found.ok
    assert "another version" in found.notes[0]


def test_a_document_must_be_whole_canonical_and_the_one_of_the_statement(bundle: Path) -> None:
    path = bundle / "document.json"
    good = path.read_bytes()
    for forged, said in (
        (good.replace(b'"title":"t"', b'"title":"u"'), "is not the one of document.json"),
        (good.replace(b'"title":"t"', b'"title":"t","title":"t"'), "key twice"),
        (good.replace(b'"title":"t"', b'"title": "t"'), "canonical"),
        (good.replace(b'"rounds":0,', b""), "document.run.rounds is missing"),
        (good.replace(b'"verdict":"INCOMPLETE"', b'"verdict":"PASS"'), "makes it INCOMPLETE"),
    ):
        assert forged != good
        path.write_bytes(forged)
        sign_again(bundle)
        assert any(said in problem for problem in problems(bundle)), (said, problems(bundle))


@pytest.mark.parametrize("field", ["run", "verdict", "reason", "document_sha256", "examination_sha256"])
def test_the_predicate_must_repeat_the_document(bundle: Path, field: str) -> None:
    sign_again(bundle, lambda each: replace(each, predicate=replace(each.predicate, **{field: "x"})))
    assert f"{ENVELOPE}: its {field} is not the one of document.json" in problems(bundle)


def test_a_file_that_no_document_lists_is_refused_even_if_signed(bundle: Path) -> None:
    add_file(bundle)
    sign_again(bundle)
    assert problems(bundle) == ("document.json: its attachments are not the files of the bundle",)


def test_the_proof_must_be_of_this_audit_and_hold(bundle: Path, tmp_path: Path) -> None:
    other = written(tmp_path, example.small(), {"keys": b"other"})
    shutil.copy(other / "log-proof.json", bundle / "log-proof.json")
    sign_again(bundle)
    assert problems(bundle) == ("log-proof.json: it is the proof of another audit",)


def test_a_payload_of_another_type_is_refused(bundle: Path) -> None:
    forged = seal_envelope("application/json", statement_of(bundle).to_bytes(), KEY)
    (bundle / ENVELOPE).write_bytes(forged)
    assert "payload's type" in problems(bundle)[0]
    payload = open_envelope(forged, "application/json", PUBLIC)
    for changed in (
        payload.replace(b"audit/v1", b"audit/v2"),
        payload.replace(b"Statement/v1", b"Statement/v0"),
        b"{}",
    ):
        (bundle / ENVELOPE).write_bytes(seal_envelope(PAYLOAD_TYPE, changed, KEY))
        assert problems(bundle)[0].startswith(ENVELOPE)


# --- hostile bundles ----------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | FIELDS, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_for_an_envelope_are_refused_without_an_error(bundle: Path, text: bytes) -> None:
    (bundle / ENVELOPE).write_bytes(text)
    assert problems(bundle)


@settings(max_examples=150, deadline=None)
@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
def test_any_signed_rubbish_is_refused_as_a_statement(text: bytes) -> None:
    with pytest.raises(ShapeError):
        Statement.from_bytes(text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["document.json", "log-proof.json"]), st.binary(max_size=20) | JSON.map(canonical_or_rubbish))
def test_any_signed_rubbish_is_refused_as_a_document_or_proof(bundle: Path, name: str, text: bytes) -> None:
    good = (bundle / name).read_bytes()
    (bundle / name).write_bytes(text)
    sign_again(bundle)
    assert problems(bundle)
    (bundle / name).write_bytes(good)


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 100_000, b'"' + b"a" * 10**6, b"\xff\xfe{}"]
)
def test_deep_long_or_garbled_json_is_refused(bundle: Path, text: bytes) -> None:
    for name in (ENVELOPE, "document.json"):
        good = (bundle / name).read_bytes()
        (bundle / name).write_bytes(text)
        if name != ENVELOPE:
            sign_again(bundle)
        assert problems(bundle)
        (bundle / name).write_bytes(good)


# --- a large one --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    capture = random.Random(1).randbytes(3 << 20)  # noqa: S311
    yield written(tmp_path_factory.mktemp("large"), example.leaking(200), {"wire/capture.pcap": capture})


def test_sampled_changes_of_a_large_bundle_are_refused(large: Path) -> None:
    generator = random.Random(11)  # noqa: S311
    assert problems(large) == ()
    for _ in range(50):
        path = generator.choice(files(large))
        at, bit = generator.randrange(path.stat().st_size), 1 << generator.randrange(8)
        with path.open("r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ bit]))
        assert problems(large)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([byte]))
    assert problems(large) == ()


def test_verification_needs_neither_pytorch_nor_flower() -> None:
    program = "import audit.verify, sys; assert not {'torch', 'flwr', 'numpy', 'scapy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).resolve().parents[2])
