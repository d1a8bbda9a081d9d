"""What `doctor` looks at on a machine: each check on a good and on a bad one, and every bad one has a fix."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from secure_fl.cli import checks
from secure_fl.cli.checks import GIB, Check
from secure_fl.federation.pki import LEAF_DAYS, provision
from secure_fl.runs import RunRecord

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home") / "federation"
    provision(folder, sites=2, hosts=["fl.example.org"], now=NOW)
    return folder


def test_python_is_new_enough_or_it_fails() -> None:
    assert checks.python().level == "ok"
    assert checks.python((3, 11, 0)).level == "ok"
    old = checks.python((3, 10, 12))
    assert (old.level, old.found) == ("fail", "3.10.12 is too old")
    assert old.fix


def test_a_busy_processor_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    assert checks.processor().level == "ok"
    monkeypatch.setattr(os, "getloadavg", lambda: (9999.0, 0.1, 0.1))
    assert checks.processor().level == "warn"


def test_memory_must_do_for_the_sites() -> None:
    assert checks.memory(16 * GIB).level == "ok"
    short = checks.memory(GIB)
    assert short.level == "warn"
    assert "--grid local" in short.fix


def test_shared_memory_may_be_absent_but_not_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.shared_memory(tmp_path / "absent").level == "ok"
    assert checks.shared_memory(tmp_path).level == "ok"
    monkeypatch.setattr(checks, "SHM_BYTES", 2**62)
    assert checks.shared_memory(tmp_path).level == "warn"


def test_a_port_that_is_taken_fails() -> None:
    assert checks.port().level == "ok"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = checks.port(number=taken.getsockname()[1])
    assert found.level == "fail"
    assert "is taken" in found.found
    assert checks.port("203.0.113.1").level == "fail"


def test_disk_space_is_looked_up_where_home_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "not" / "yet"
    assert checks.disk(home).level in ("ok", "warn")
    assert not home.exists()
    monkeypatch.setattr(checks, "GOOD_FREE_BYTES", 2**62)
    assert checks.disk(home).level == "warn"
    monkeypatch.setattr(checks, "LEAST_FREE_BYTES", 2**62)
    assert checks.disk(home).level == "fail"
    monkeypatch.setattr(os, "access", lambda *_: False)
    refused = checks.disk(home)
    assert (refused.level, "cannot be written" in refused.found) == ("fail", True)


def test_certificates_are_good_then_due_then_expired(federation: Path) -> None:
    def found(days: float) -> list[Check]:
        return checks.certificates(federation, now=NOW + datetime.timedelta(days=days))

    (good,) = found(1)
    assert (good.level, good.found) == ("ok", "4 valid for more than 30 days")
    due = found(LEAF_DAYS - 10)
    assert [each.level for each in due] == ["warn"] * 3
    expired = found(LEAF_DAYS + 1)
    assert [each.level for each in expired] == ["fail"] * 3
    assert "server.crt expired on 2027-06-01" in expired[0].found
    assert all(each.fix for each in (*due, *expired))
    assert len(found(5000)) == 4


def test_of_kits_that_are_elsewhere_no_more_is_said_than_is_known(federation: Path, tmp_path: Path) -> None:
    folder = tmp_path / "federation"
    shutil.copytree(federation, folder)
    shutil.rmtree(folder / "sites" / "site-0")
    for key in (folder / "sites" / "site-1").glob("*.key"):
        key.unlink()  # its certificate is left, and may be an old one
    (folder / "ca.key").unlink()
    here, elsewhere = checks.certificates(folder, now=NOW + datetime.timedelta(days=1))
    assert (here.level, here.found) == ("ok", "2 valid for more than 30 days")
    assert (elsewhere.level, "elsewhere (site-0, site-1)" in elsewhere.found) == ("ok", True)
    due, _ = checks.certificates(folder, now=NOW + datetime.timedelta(days=LEAF_DAYS - 10))
    assert (due.level, "bring ca.key" in due.fix) == ("warn", True)
    (folder / "roster.json").write_text("no roster")
    assert [check.level for check in checks.certificates(folder, now=NOW)] == ["ok", "fail"]


def test_a_certificate_that_cannot_be_read_fails(tmp_path: Path) -> None:
    assert checks.certificates(tmp_path)[0].level == "ok"
    (tmp_path / "server.crt").write_text("no certificate")
    (found,) = checks.certificates(tmp_path)
    assert (found.level, "server.crt cannot be read" in found.found) == ("fail", True)


def test_private_keys_that_others_can_read_fail(federation: Path) -> None:
    (good,) = checks.private_keys(federation)
    assert good.level == "ok"
    key = federation / "sites" / "site-0" / "tls.key"
    key.chmod(0o640)
    (loose,) = checks.private_keys(federation)
    key.chmod(0o600)
    assert loose.level == "fail"
    assert loose.fix == f"chmod 600 {key}"
    assert checks.private_keys(federation / "sites" / "site-9") == []


def test_runs_are_counted_and_damaged_ones_named(home: Path, new_record: Callable[..., RunRecord]) -> None:
    assert checks.runs(home).found == "none yet"
    record = new_record()
    new_record()
    assert (checks.runs(home).level, checks.runs(home).found) == ("ok", "2 recorded")
    (record.folder / "config.json").write_text("{}")
    (record.folder / "events.jsonl").write_text("not an event\n")
    found = checks.runs(home)
    assert found.level == "warn"
    assert record.id in found.found


def test_an_index_that_is_no_database_is_made_anew(home: Path, new_record: Callable[..., RunRecord]) -> None:
    new_record()
    (home / "runs" / "index.sqlite").write_bytes(b"no database at all, but long enough to look at" * 100)
    assert checks.runs(home).level == "ok"
