"""The log of audits: the known roots of RFC 6962, proofs of every size, and a removed report that is noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audit.report.shape import ShapeError
from audit.report.transparency import (
    AuditLog,
    Entry,
    LogProof,
    consistency_proof,
    inclusion_proof,
    root,
    verify_consistency,
    verify_inclusion,
)

# Leaves and roots of the reference tests of Certificate Transparency.
LEAVES = [
    bytes.fromhex(each)
    for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
MANY = [bytes([at]) * at for at in range(34)]


def entry(number: int) -> Entry:
    return Entry(f"run-{number}", "PASS", f"{number:064x}", "k")


@pytest.mark.parametrize(("size", "expected"), list(enumerate(ROOTS)))
def test_roots_are_those_of_certificate_transparency(size: int, expected: str) -> None:
    assert root(LEAVES[:size]).hex() == expected


def test_each_leaf_is_proved_to_be_in_each_tree_and_nowhere_else() -> None:
    for size in range(1, len(MANY) + 1):
        leaves = MANY[:size]
        head = root(leaves)
        for index in range(size):
            path = inclusion_proof(leaves, index)
            assert verify_inclusion(leaves[index], index, size, path, head)
            assert not verify_inclusion(b"other", index, size, path, head)
            assert not verify_inclusion(leaves[index], index, size, [*path, head], head)
            assert size == 1 or not verify_inclusion(leaves[index], index, size, path[:-1], head)
            assert size == 1 or not verify_inclusion(leaves[index], (index + 1) % size, size, path, head)
    assert not verify_inclusion(b"", 0, 0, [], root([]))


def test_each_tree_is_proved_to_be_a_beginning_of_each_larger_one() -> None:
    for second in range(1, len(MANY) + 1):
        new = root(MANY[:second])
        for first in range(second + 1):
            old, path = root(MANY[:first]), consistency_proof(MANY[:second], first)
            assert verify_consistency(first, second, path, old, new)
            forked = root([*MANY[: max(first - 1, 0)], b"forked"])
            assert not verify_consistency(first, second, path, forked, new)
            assert not verify_consistency(first, second, [*path, new], old, new)
            if path:
                assert not verify_consistency(first, second, path[:-1], old, new)
                assert not verify_consistency(first, second, path, old, root([*MANY[: second - 1], b"x"]))


def test_a_log_grows_and_each_proof_stays_good(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audits.log")
    proofs = [log.append(entry(number)) for number in range(9)]
    assert [proof.index for proof in proofs] == list(range(9))
    assert (tmp_path / "audits.log").stat().st_mode & 0o777 == 0o600
    for proof in proofs:
        assert LogProof.from_bytes(proof.to_bytes()) == proof
        assert proof.problems() == ()
        assert AuditLog(tmp_path / "audits.log").problems(proof) == ()


def test_a_removed_swapped_or_altered_entry_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "audits.log"
    log = AuditLog(path)
    proof = [log.append(entry(number)) for number in range(4)][-1]
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged, said in (
        (lines[:-1], "has 3 entries; it had 4"),
        (lines[1:], "has 3 entries"),
        ([lines[1], lines[0], *lines[2:]], "are not those"),
        ([lines[0].replace(b"PASS", b"FAIL"), *lines[1:]], "are not those"),
        ([*lines, b"{}\n"], "cannot be read"),
        ([*lines, b'{"half'], "cannot be read"),
    ):
        path.write_bytes(b"".join(damaged))
        (problem,) = log.problems(proof)
        assert said in problem
    path.unlink()
    assert "has 0 entries" in log.problems(proof)[0]


def test_a_torn_log_takes_no_further_entry(tmp_path: Path) -> None:
    path = tmp_path / "audits.log"
    path.write_bytes(b'{"run"')
    with pytest.raises(ShapeError, match="middle of a line"):
        AuditLog(path).append(entry(1))
    assert path.read_bytes() == b'{"run"'


def test_a_proof_that_was_altered_does_not_hold(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audits.log")
    proof = [log.append(entry(number)) for number in range(5)][-1]
    assert replace(proof, entry=entry(7)).problems() == ("the audit is not in the tree that the proof names",)
    assert replace(proof, previous_root=proof.root).problems() == ("the tree is no continuation of the tree before it",)
    assert len(replace(proof, root=ROOTS[0]).problems()) == 2
    assert replace(proof, root="xyz").problems() == ("the proof holds hashes that are no hex",)
