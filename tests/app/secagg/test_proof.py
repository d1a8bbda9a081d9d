"""A record proves its sums by the roster, and a round that is not the sum that it names is a fault."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from secure_fl.app.secagg.proof import prove_sums, recorded_roster
from secure_fl.cli.main import app
from secure_fl.config_sources import resolve
from secure_fl.errors import IntegrityError
from secure_fl.runs import RunRecord
from secure_fl.secagg.evidence import SlotEvidence
from secure_fl.secagg.messages import transcript_of
from secure_fl.secagg.terms import Slot
from tests.secagg.witnessed import Federation

SITES = 5
VECTORS = [np.zeros(8, np.uint32)] * SITES


class Written:
    """A run of a secure federation, written by hand."""

    def __init__(self, home: Path) -> None:
        resolved = resolve(flags={"secagg": "full", "sites": SITES}, environ={}, preset="smoke")
        self.record = RunRecord.create(home, resolved, command=("test",))
        self.federation = Federation(SITES)
        roster = {str(index): key.hex() for index, key in self.federation.roster.items()}
        started = {"pid": 1, "resumed_from_round": None, "sites": [], "grid": "local"}
        self.record.append("run-started", **started, secagg={"roster": roster})
        for index in range(SITES):
            self.record.append("site-joined", site=f"site-{index}", index=index)

    def slot(self, round_: int, attempt: int = 1, *, silent: tuple[int, ...] = ()) -> SlotEvidence:
        slot = Slot(self.record.id, round_, attempt, 0)
        return self.federation.sum(VECTORS, slot, silent=silent).evidence

    def write(self, slot: SlotEvidence, *, outcome: str = "summed") -> None:
        where = slot.terms.slot
        fields = {"round": where.round, "attempt": where.attempt, "group": where.group, "outcome": outcome}
        self.record.append("secagg-slot", **fields, **slot.to_mapping())

    def finish(self, round_: int, sites: tuple[int, ...]) -> None:
        self.record.append(
            "round-finished", round=round_, loss=1.0, accuracy=0.5, accepted=[f"site-{index}" for index in sites]
        )

    def faults(self) -> list[tuple[str, str]]:
        return [(each.slot, each.what) for each in prove_sums(self.record, self.federation.roster).faults]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def test_rounds_with_their_sums_stand(written: Written) -> None:
    written.finish(0, ())
    written.write(written.slot(1))
    written.finish(1, (0, 1, 2, 3, 4))
    written.write(written.slot(2, silent=(3,)))
    written.finish(2, (0, 1, 2, 4))
    proof = prove_sums(written.record, recorded_roster(written.record))
    assert (proof.slots, proof.summed, proof.faults) == (2, 2, ())


def test_a_void_round_and_an_abandoned_attempt_stand(written: Written) -> None:
    slot = Slot(written.record.id, 1, 1, 0)
    terms = written.federation.terms(slot, 8)
    adverts = {index: client.advertise(slot) for index, client in enumerate(written.federation.clients)}
    written.write(SlotEvidence(terms, adverts, transcript_of(terms, adverts)), outcome="abandoned")
    written.write(written.slot(1, 2))
    written.finish(1, (0, 1, 2, 3, 4))
    written.finish(2, ())
    assert written.faults() == []
    assert prove_sums(written.record, written.federation.roster).summed == 1


def test_a_round_without_a_sum_is_a_fault(written: Written) -> None:
    written.finish(1, (0, 1, 2, 3, 4))
    assert written.faults() == [("round 1", "its sites are not those of its sums")]


def test_a_round_over_other_sites_than_its_sum_is_a_fault(written: Written) -> None:
    written.write(written.slot(1))
    written.finish(1, (0, 1, 2, 3))
    assert written.faults() == [("round 1", "its sites are not those of its sums")]


def test_a_sum_of_another_run_is_a_fault(written: Written) -> None:
    written.write(written.federation.sum(VECTORS, Slot("another", 1, 1, 0)).evidence)
    assert written.faults() == [("round 1", "the sum is of another run")]


def test_the_runs_settings_are_the_policy(written: Written) -> None:
    slot = written.slot(1)
    written.write(replace(slot, terms=replace(slot.terms, clip=1e9)))
    assert any("terms that no site should accept" in what for _, what in written.faults())


def test_a_record_without_keys_says_so(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path, resolve(flags={}, environ={}, preset="smoke"), command=("test",))
    record.append("run-started", pid=1, resumed_from_round=None, grid="local", sites=[])
    with pytest.raises(IntegrityError, match="whose keys"):
        recorded_roster(record)


def test_the_command_line_verifies_sums_and_names_the_first_that_does_not_stand(
    written: Written, tmp_path: Path
) -> None:
    arguments = ["--home", str(tmp_path), "runs", "verify", written.record.id]
    slot = written.slot(1)
    written.write(slot)
    written.finish(1, (0, 1, 2, 3, 4))
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0 and "1 secure sums in 1 attempts" in told.output, told.output
    written.write(slot)
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code != 0 and "the slot comes twice" in refused.output, refused.output
