"""The deployment grid for real: processes, TLS, and sites that fail or misbehave."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from secure_fl.app.coordinator import coordinate
from secure_fl.app.identity import Roster, open_roster
from secure_fl.app.strategy import FedAvg
from secure_fl.errors import FederationError, QuorumError
from secure_fl.federation.certificates import RENEW_DAYS
from secure_fl.federation.launch import execute
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.federation.parcels import Sender
from secure_fl.federation.pki import LEAF_DAYS, provision
from secure_fl.runs import RunRecord
from tests.federation.adversaries import TAMPERS, Gated, OnlyThese, Tampering, honest, raising
from tests.federation.conftest import Federation, MakeRecord

LAUNCH = """
import sys
from pathlib import Path
from secure_fl.federation import fleet
from secure_fl.federation.launch import execute
from secure_fl.runs import RunRecord
execute(RunRecord.open(Path(sys.argv[1])), Path(sys.argv[2]))
"""

Federate = Callable[..., Federation]


def final(record: RunRecord) -> dict:
    return dict(record.events()[-1].fields) if record.events()[-1].kind == "run-finished" else _last_outcome(record)


def _last_outcome(record: RunRecord) -> dict:
    return next(dict(e.fields) for e in reversed(record.events()) if e.kind == "run-finished")


@pytest.fixture(scope="module")
def secrets_of() -> Callable[[Path], list[bytes]]:
    def read(home: Path) -> list[bytes]:
        keys = list((home / "federation").rglob("*.key"))
        assert len(keys) >= 8
        return [b"".join(path.read_bytes().splitlines()[1:-1])[20:60] for path in keys]

    return read


def test_the_deployment_and_the_local_grid_end_in_the_same_model_and_no_secret_shows(
    make_record: MakeRecord, home: Path, federate: Federate, secrets_of
):
    running = federate()
    running.wait_for("round-started", round=1)
    children = psutil.Process().children(recursive=True)
    lines = b"\0".join("\0".join(each.cmdline()).encode() for each in children if each.is_running())
    running.result()
    local = make_record("grid=local")
    execute(local, home)
    again = make_record("grid=local")
    execute(again, home)
    deployed = final(running.record)
    assert deployed["status"] == "succeeded"
    assert deployed["model_sha256"] == final(local)["model_sha256"] == final(again)["model_sha256"]
    assert [row.loss for row in running.record.rounds()] == [row.loss for row in local.rounds()]

    started = running.find("federation-started")[0]
    assert (started["tls"], started["mutual_tls"]) == ("1.3", True)
    assert running.find("run-started")[0]["site_identities"] is True
    # Canaries: the middle of every private key, and what the launcher told its children on pipes.
    files = [path for path in running.record.folder.rglob("*") if path.is_file()]
    written = b"\0".join(path.read_bytes() for path in files)
    for secret in secrets_of(home):
        assert secret not in written and secret not in lines
    assert b"superexec_secret" not in written and b"control_secret" not in lines
    readable = [p for p in home.rglob("*") if p.is_file() and p.stat().st_mode & 0o044 and p.suffix == ".key"]
    assert readable == []
    # The SuperLink's process was told its secrets, and nothing that it started is left.
    assert not psutil.pid_exists(int(started["superlink_pid"]))
    assert [each.pid for each in children if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []


def test_every_kind_of_bad_reply_is_refused_by_name_and_moves_the_model_by_nothing(
    make_record: MakeRecord, home: Path, federate: Federate
):
    kinds = list(TAMPERS)
    shape = (f"sites={3 + len(kinds)}", "samples=420", "partition=iid", "quorum=0.2", "rounds=2")
    running = federate(*shape, f"remote-sites={len(kinds)}")
    for index, kind in enumerate(kinds, start=3):
        running.join(index, Tampering(TAMPERS[kind]))
    running.result()

    named = {(e["site"], e["round"]): e["reason"] for e in running.find("reply-rejected")}
    expected = {(f"site-{i}", r): kind for i, kind in enumerate(kinds, start=3) for r in (1, 2)}
    assert named == expected
    accepted = {e["site"] for e in running.find("reply-accepted")}
    assert accepted == {"site-0", "site-1", "site-2"}

    reference = make_record("grid=local", *shape)
    _run_with_only(3, reference)
    assert final(running.record)["model_sha256"] == final(reference)["model_sha256"]


def _run_with_only(honest_sites: int, record: RunRecord) -> None:
    """The same run in which the other sites answer with errors only."""
    from secure_fl.data import site_sizes

    grid = LocalGrid(OnlyThese(tuple(range(honest_sites))), record.config.sites)
    coordinate(grid, record, open_roster(site_sizes(record.config)), FedAvg(), facts={"pid": os.getpid()})


def test_a_killed_and_a_hanging_site_cost_one_time_limit_and_both_come_back(federate: Federate):
    running = federate("sites=4", "remote-sites=2", "rounds=5000", "round-timeout-s=6", "quorum=0.5")
    paced, hanging = Gated(), Gated()
    running.join(2, paced)
    running.join(3, hanging)
    # Round 1: site-1 is killed while it is in the round, and site-3 hangs.
    assert hanging.arrived.acquire(timeout=120) and paced.arrived.acquire(timeout=120)
    os.kill(running.pid("site-1"), signal.SIGKILL)
    paced.open(5000)
    finished = running.wait_for("round-finished", round=1)[0]
    assert {"site-0", "site-2"} <= set(finished["accepted"]) and "site-3" not in finished["accepted"]
    assert running.find("reply-missing", round=1, site="site-3", reason="timeout")
    # Rounds go on without them. Then site-3 answers, too late for round 1, and takes part again.
    running.wait_for("round-finished", round=3)
    hanging.open(5000)
    late = running.wait_for("reply-late", round=1, site="site-3")[0]
    # site-1 is started again with the same keys; Flower lets it in when its former self is overdue.
    running.join(1, honest)
    joined = running.wait_for("site-joined", site="site-1", count=2, within_s=90)[1]
    for name, since in (("site-3", late.seq), ("site-1", joined.seq)):
        running.wait_for("reply-accepted", site=name, after=since)
    running.record.request_stop()
    running.result()
    assert final(running.record)["status"] == "interrupted"
    # The hanging site cost one time limit, not one in each round.
    assert len(running.find("reply-missing", site="site-3")) == 1


def test_a_site_that_announces_an_update_and_never_sends_it_cannot_hold_up_the_round(
    federate: Federate, monkeypatch: pytest.MonkeyPatch
):
    push = Sender.push

    def all_but_updates(sender, announcement, answer, contents, *, before, **whose):
        if any(content.startswith(b"Array ") for content in contents.values()):
            sender.send([*before, ("push-messages", announcement)])
        else:
            push(sender, announcement, answer, contents, before=before, **whose)

    monkeypatch.setattr(Sender, "push", all_but_updates)  # of the sites in this process only
    running = federate("sites=3", "remote-sites=1", "rounds=1", "round-timeout-s=20", "quorum=0.6")
    running.join(2, honest)
    running.result(120)
    assert running.find("round-finished", round=1)[0]["accepted"] == ["site-0", "site-1"]
    assert running.find("reply-missing", round=1, site="site-2", reason="unreachable")
    assert running.find("round-finished", round=1)[0]["seconds"] < 20


def test_a_launcher_that_is_killed_leaves_no_process_and_its_run_resumes_to_the_same_model(
    make_record: MakeRecord, home: Path
):
    record, local = make_record("grid=deployment", "rounds=8"), make_record("grid=local", "rounds=8")
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCH, str(record.folder), str(home)])
    reader, done = record.follow(), 0
    while done < 2:
        assert launcher.poll() is None
        done += sum(event.kind == "round-finished" for event in reader.poll())
    children = psutil.Process(launcher.pid).children(recursive=True)
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert len(gone) >= 6 and alive == []
    assert record.status() == "interrupted"
    execute(record, home)
    execute(local, home)
    assert final(record)["model_sha256"] == final(local)["model_sha256"]
    record.verify()


def test_too_few_usable_replies_end_the_run_with_the_reason_and_keep_what_is_saved(
    federate: Federate, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    # As the how-to says: every kit is at its site, one was lost and replaced, and ca.key is off-line.
    folder, kits, lost = home / "federation", tmp_path / "kits", tmp_path / "lost"
    soon = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=LEAF_DAYS - RENEW_DAYS + 1)
    provision(folder, sites=3, hosts=["fl.example.org"], now=soon)
    lost.mkdir()
    (folder / "sites" / "site-2").rename(lost / "site-2")
    roster = provision(folder, sites=3, hosts=[], new_kits=["site-2"], now=soon).roster
    (folder / "sites").rename(kits)
    (folder / "ca.key").rename(tmp_path / "ca.key")
    running = federate("sites=3", "remote-sites=3", "host=0.0.0.0", "quorum=0.9", "rounds=3")
    with pytest.raises(FederationError, match="certificate is not in the roster"):
        running.join(2, honest, kits=lost).result(60)
    running.join(0, honest, kits=kits)
    for index in (1, 2):
        running.join(index, Tampering(raising), kits=kits)
    with pytest.raises(QuorumError, match="1 usable replies, 3 are needed"):
        running.result()
    outcome = final(running.record)
    assert (outcome["status"], outcome["error"]["code"]) == ("failed", "QUORUM_LOST")
    assert running.record.last_checkpoint() is not None
    assert "the disk is on fire" in running.find("reply-rejected")[0]["detail"]
    assert Roster.read(folder / "roster.json") == roster and not (folder / "sites").exists()
    assert not (folder / "ca.key").exists()
    warned = [record.getMessage() for record in caplog.records if "ends on" in record.getMessage()]
    assert sorted(text.split(" ends on ")[0] for text in warned) == [
        f"the certificate of {who}" for who in ("coordinator", "site-0", "site-1", "site-2")
    ]


def test_sites_that_never_come_end_the_run_by_name(federate: Federate):
    running = federate("sites=3", "remote-sites=3", "join-timeout-s=3")
    with pytest.raises(QuorumError, match="only 0 of 3 needed sites joined") as caught:
        running.result()
    assert "join-timeout-s" in caught.value.fix
