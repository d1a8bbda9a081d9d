"""The ledger never counts less than what was released: not after a crash, not with company, not when altered."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from secure_fl.errors import ConfigError, IntegrityError, SecureFLError
from secure_fl.privacy.accounting import PrivacyEvent, epsilon
from secure_fl.privacy.ledger import Ledger
from secure_fl.runs.events import parse_event, seal

ROUND = PrivacyEvent("poisson-gaussian", 1.0, 0.05, 20)
DELTA = 1e-5

# Spends round after round, and says of each that its update has left the site; dies where it is told to.
_SITE = """
import os, signal, sys
from pathlib import Path
from secure_fl.privacy.accounting import PrivacyEvent
from secure_fl.privacy.ledger import Ledger

path, point, rounds, run = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
event = PrivacyEvent("poisson-gaussian", 1.0, 0.05, 20)
write, fsync = os.write, os.fsync

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying_write(handle, data):
    if point == "in-write":
        write(handle, bytes(data)[: len(data) // 2])
    die()

def dying_fsync(handle):
    fsync(handle)
    die()

for number in range(1, rounds + 1):
    if number == rounds and point in ("before-write", "in-write"):
        os.write = dying_write
    if number == rounds and point == "after-fsync":
        os.fsync = dying_fsync
    Ledger(path).spend(event, run=run, round=number, unit="sample", data="data-a")
    if number == rounds and point == "before-use":
        die()
    print("released", number, flush=True)
"""


def site(path: Path, point: str = "", rounds: int = 3, run: str = "run-1") -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", _SITE, str(path), point, str(rounds), run]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "federation" / "privacy" / "site-0.jsonl")


def spend(ledger: Ledger, *, run: str = "run-1", round: int = 1, data: str = "data-a") -> None:
    ledger.spend(ROUND, run=run, round=round, unit="sample", data=data)


# -- what it counts


def test_a_site_without_a_ledger_has_spent_nothing(ledger: Ledger) -> None:
    assert ledger.spendings() == []
    assert ledger.epsilon("data-a", DELTA).value == 0.0
    assert ledger.verify() == 0
    assert not ledger.path.exists()


def test_an_entry_says_what_was_about_to_happen(ledger: Ledger) -> None:
    spend(ledger, round=7)
    (entry,) = ledger.spendings()
    assert (entry.event, entry.run, entry.round, entry.data) == (ROUND, "run-1", 7, "data-a")
    assert (entry.unit, entry.adjacency) == ("sample", "add-remove")


def test_runs_compose_and_data_sets_stand_apart(ledger: Ledger) -> None:
    for run in ("run-1", "run-2"):
        for number in (1, 2):
            spend(ledger, run=run, round=number)
    spend(ledger, data="data-b")
    reopened = Ledger(ledger.path)
    assert reopened.epsilon("data-a", DELTA) == epsilon([ROUND] * 4, DELTA)
    assert reopened.epsilon("data-b", DELTA) == epsilon([ROUND], DELTA)
    assert reopened.epsilon("data-c", DELTA).value == 0.0
    assert [each.run for each in reopened.spendings("data-a")] == ["run-1", "run-1", "run-2", "run-2"]
    assert reopened.epsilon("data-a", DELTA, "rdp").value > reopened.epsilon("data-a", DELTA).value


def test_a_round_that_is_sent_again_counts_again(ledger: Ledger) -> None:
    spend(ledger, round=1)
    spend(ledger, round=1)
    assert [each.round for each in ledger.spendings()] == [1, 1]
    assert ledger.epsilon("data-a", DELTA) == epsilon([ROUND] * 2, DELTA)


def test_exactly_the_step_that_would_exceed_is_refused(ledger: Ledger) -> None:
    budget = epsilon([ROUND] * 3, DELTA).value
    for number in (1, 2, 3):
        assert ledger.affordable(ROUND, "data-a", budget, DELTA)
        spend(ledger, round=number)
    assert not ledger.affordable(ROUND, "data-a", budget, DELTA)
    assert not ledger.affordable(PrivacyEvent("poisson-gaussian", 1.0, 0.05, 1), "data-a", budget, DELTA)
    assert ledger.affordable(ROUND, "data-b", budget, DELTA)
    assert ledger.verify() == 3  # asking is free


@pytest.mark.parametrize("budget", [0.0, float("nan")])
def test_a_budget_of_nothing_affords_nothing(ledger: Ledger, budget: float) -> None:
    assert not ledger.affordable(ROUND, "data-a", budget, DELTA)


def test_an_unknown_unit_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="unit"):
        ledger.spend(ROUND, run="run-1", round=1, unit="pixel", data="data-a")
    assert not ledger.path.exists()


def test_only_the_owner_may_read_it(ledger: Ledger) -> None:
    spend(ledger)
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(ledger.path.parent.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SecureFLError, match="cannot write"):
        spend(Ledger(tmp_path / "file" / "site-0.jsonl"))


# -- crashes


@pytest.mark.parametrize(
    ("point", "entered"), [("before-write", 2), ("in-write", 2), ("after-fsync", 3), ("before-use", 3)]
)
def test_a_site_that_is_killed_has_entered_all_that_it_released(ledger: Ledger, point: str, entered: int) -> None:
    child = site(ledger.path, point)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert said.splitlines() == ["released 1", "released 2"]
    assert [each.round for each in ledger.spendings()] == list(range(1, entered + 1))
    spend(ledger, round=9)  # it opens again, and goes on
    assert [each.round for each in ledger.spendings()] == [*range(1, entered + 1), 9]
    torn = list(ledger.path.parent.glob("*.torn-*"))
    assert len(torn) == (1 if point == "in-write" else 0)


def test_a_site_that_is_killed_at_any_time_has_entered_all_that_it_released(ledger: Ledger) -> None:
    for run in ("run-1", "run-2", "run-3"):
        child = site(ledger.path, rounds=100_000, run=run)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(5)]
        child.kill()
        lines += child.stdout.readlines()
        child.wait(timeout=60)
        released = sum(line.endswith("\n") for line in lines)
        entered = [each for each in ledger.spendings() if each.run == run]
        assert 5 <= released <= len(entered) <= released + 1


@pytest.mark.parametrize("kept", [1, 100, -1], ids=["one byte", "a part", "all but the newline"])
def test_a_torn_line_is_set_aside_and_recorded(ledger: Ledger, kept: int) -> None:
    spend(ledger, round=1)
    whole = ledger.path.read_bytes()
    spend(ledger, round=2)
    torn = ledger.path.read_bytes()[len(whole) :][:kept]
    ledger.path.write_bytes(whole + torn)
    assert [each.round for each in ledger.spendings()] == [1]
    spend(ledger, round=3)
    assert [each.round for each in ledger.spendings()] == [1, 3]
    kinds = [parse_event(line).kind for line in ledger.path.read_bytes().splitlines()]
    assert kinds == ["privacy-spent", "record-repaired", "privacy-spent"]
    assert (ledger.path.parent / "site-0.torn-1").read_bytes() == torn


# -- company


def test_two_processes_that_spend_at_once_lose_nothing(ledger: Ledger) -> None:
    children = [site(ledger.path, rounds=40, run=run) for run in ("run-1", "run-2")]
    assert [child.wait(timeout=60) for child in children] == [0, 0]
    assert ledger.verify() == 80
    for run in ("run-1", "run-2"):
        assert [each.round for each in ledger.spendings() if each.run == run] == list(range(1, 41))


_ALONE = """
import sys
from pathlib import Path
from secure_fl.privacy.accounting import PrivacyEvent
from secure_fl.privacy.ledger import Ledger

ledger, event = Ledger(Path(sys.argv[1])), PrivacyEvent("poisson-gaussian", 1.0, 0.05, 20)
for number in range(10):
    with ledger.alone():
        if ledger.affordable(event, "data-a", float(sys.argv[2]), 1e-5):
            ledger.spend(event, run="run-1", round=number, unit="sample", data="data-a")
"""


def test_two_processes_cannot_exceed_a_budget_together(ledger: Ledger) -> None:
    budget = epsilon([ROUND] * 3, DELTA).value
    arguments = [sys.executable, "-c", _ALONE, str(ledger.path), repr(budget)]
    children = [subprocess.Popen(arguments) for _ in range(2)]
    assert [child.wait(timeout=60) for child in children] == [0, 0]
    assert ledger.verify() == 3


# -- alterations


def filled(ledger: Ledger) -> list[bytes]:
    for number in (1, 2, 3, 4):
        spend(ledger, round=number)
    return ledger.path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"steps":20', b'"steps":2'), (b'"noise_multiplier":1.0', b'"noise_multiplier":9.0'), (b"data-a", b"data-b")],
)
def test_an_edited_line_is_named(ledger: Ledger, old: bytes, new: bytes) -> None:
    lines = filled(ledger)
    assert old in lines[1]
    lines[1] = lines[1].replace(old, new)
    ledger.path.write_bytes(b"".join(lines))
    for use in (ledger.verify, lambda: ledger.epsilon("data-a", DELTA), ledger.spendings):
        with pytest.raises(IntegrityError, match="line 2"):
            use()
    with pytest.raises(IntegrityError, match="line 2"):
        ledger.affordable(ROUND, "data-a", 1e9, DELTA)


def test_a_line_that_was_taken_out_is_named(ledger: Ledger) -> None:
    lines = filled(ledger)
    ledger.path.write_bytes(b"".join(lines[:1] + lines[2:]))
    with pytest.raises(IntegrityError, match="line 2"):
        ledger.verify()


def test_nothing_is_entered_after_a_last_line_that_was_altered(ledger: Ledger) -> None:
    lines = filled(ledger)
    ledger.path.write_bytes(b"".join(lines[:3]) + lines[3].replace(b'"steps":20', b'"steps":2'))
    before = ledger.path.read_bytes()
    with pytest.raises(IntegrityError, match="last line"):
        spend(ledger)
    assert ledger.path.read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "change"),
    [("free-lunch", {}), ("privacy-spent", {"mechanism": "laplace"}), ("privacy-spent", {"noise_multiplier": None})],
)
def test_what_cannot_be_counted_is_not_taken_for_free(ledger: Ledger, kind: str, change: dict[str, object]) -> None:
    last = parse_event(filled(ledger)[-1].strip())
    fields = {**last.fields, **change}
    with ledger.path.open("ab") as file:
        file.write(seal(last, time_s=1.8e9, kind=kind, fields=fields).line())
    with pytest.raises(IntegrityError, match="line 5"):
        ledger.epsilon("data-a", DELTA)


def test_lines_are_plain_json_for_other_tools(ledger: Ledger) -> None:
    (line,) = filled(ledger)[:1]
    entry = json.loads(line)
    assert (entry["mechanism"], entry["noise_multiplier"], entry["sample_rate"], entry["steps"]) == (
        "poisson-gaussian",
        1.0,
        0.05,
        20,
    )
