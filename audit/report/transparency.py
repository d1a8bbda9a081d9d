"""A log of all audits that can only grow, so that an unwelcome report cannot be removed without a trace.

A Merkle tree as in Certificate Transparency (RFC 6962, section 2.1), offline, in one file beside the runs: a line an
audit. Each bundle carries the proof that its own line is in the tree, and that the tree of the bundle before it is a
beginning of this one. Whoever has kept any bundle can tell whether a log still holds it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.report.shape import ShapeError, canonical, from_mapping, strict_json

__all__ = [
    "AuditLog",
    "Entry",
    "LogProof",
    "consistency_proof",
    "inclusion_proof",
    "root",
    "verify_consistency",
    "verify_inclusion",
]


@dataclass(frozen=True)
class Entry:
    """One line of the log."""

    run: str
    verdict: str
    document_sha256: str
    key: str  # id of the key that signs the bundle

    def leaf(self) -> bytes:
        """The bytes that the tree hashes."""
        return canonical(self)


@dataclass(frozen=True)
class LogProof:
    """`log-proof.json` of a bundle; hashes in hex. `previous_size`: of the tree before this entry."""

    entry: Entry
    index: int
    size: int
    root: str
    inclusion: tuple[str, ...]
    previous_size: int
    previous_root: str
    consistency: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """RFC 8785 JSON."""
        return canonical(self)

    @classmethod
    def from_bytes(cls, text: bytes) -> LogProof:
        """The reverse; raises ShapeError."""
        return from_mapping(cls, strict_json(text), "log-proof")

    def problems(self) -> tuple[str, ...]:
        """What does not hold of the two proofs; empty if both do."""
        try:
            path, steps = ([bytes.fromhex(each) for each in side] for side in (self.inclusion, self.consistency))
            roots = bytes.fromhex(self.previous_root), bytes.fromhex(self.root)
        except ValueError:
            return ("the proof holds hashes that are no hex",)
        found = []
        if not verify_inclusion(self.entry.leaf(), self.index, self.size, path, roots[1]):
            found.append("the audit is not in the tree that the proof names")
        if not verify_consistency(self.previous_size, self.size, steps, *roots):
            found.append("the tree is no continuation of the tree before it")
        return tuple(found)


class AuditLog:
    """The file. One process writes at a time; a torn last line is refused, not repaired."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def leaves(self) -> list[bytes]:
        """All entries in order; raises ShapeError for a file that this class did not write."""
        text = self._path.read_bytes() if self._path.exists() else b""
        return _leaves(text, self._path.name)

    def append(self, entry: Entry) -> LogProof:
        """Add an entry and make it durable; the proof is of the tree that ends with it."""
        import fcntl

        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = _leaves(file.read(), self._path.name)
            file.write(entry.leaf() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        leaves = [*before, entry.leaf()]
        return LogProof(
            entry=entry,
            index=len(before),
            size=len(leaves),
            root=root(leaves).hex(),
            inclusion=tuple(each.hex() for each in inclusion_proof(leaves, len(before))),
            previous_size=len(before),
            previous_root=root(before).hex(),
            consistency=tuple(each.hex() for each in consistency_proof(leaves, len(before))),
        )

    def problems(self, proof: LogProof) -> tuple[str, ...]:
        """Why this log is not the one that a bundle's proof was made from, or not all of it; empty if it is."""
        try:
            leaves = self.leaves()
        except (ShapeError, OSError) as why:
            return (f"the log of audits cannot be read: {why}",)
        if len(leaves) < proof.size:
            return (f"the log of audits has {len(leaves)} entries; it had {proof.size} when this audit was signed",)
        if root(leaves[: proof.size]).hex() != proof.root:
            return (f"the first {proof.size} entries of the log of audits are not those of when this audit was signed",)
        return ()


def root(leaves: Sequence[bytes]) -> bytes:
    """Merkle tree hash of RFC 6962, 2.1; leaves and nodes hash under different prefixes."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = _split(len(leaves))
    return _node(root(leaves[:half]), root(leaves[half:]))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Audit path of RFC 6962, 2.1.1, from the leaf upward."""
    if len(leaves) == 1:
        return []
    half = _split(len(leaves))
    if index < half:
        return [*inclusion_proof(leaves[:half], index), root(leaves[half:])]
    return [*inclusion_proof(leaves[half:], index - half), root(leaves[:half])]


def consistency_proof(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """That the tree of the first `size` leaves is a beginning of this one: RFC 6962, 2.1.2. Empty for size 0."""
    return _subproof(leaves, size, known=True) if 0 < size < len(leaves) else []


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """RFC 9162, 2.1.3.2: the path leads from the leaf at `index` to the root of `size` leaves, with nothing left."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, hashlib.sha256(b"\0" + leaf).digest()
    for step in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = _node(step, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = _node(found, step)
        at, last = at >> 1, last >> 1
    return last == 0 and found == expected


def verify_consistency(first: int, second: int, path: Sequence[bytes], old: bytes, new: bytes) -> bool:
    """RFC 9162, 2.1.4.2: `path` leads from the root of `first` leaves to that of `second`."""
    if first == 0:
        return not path and old == root([])
    if first == second:
        return not path and old == new
    if not 0 < first < second or not path:
        return False
    steps = [old, *path] if first & (first - 1) == 0 else list(path)
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    left = right = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            left, right = _node(step, left), _node(step, right)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            right = _node(right, step)
        at, last = at >> 1, last >> 1
    return last == 0 and left == old and right == new


def _subproof(leaves: Sequence[bytes], size: int, *, known: bool) -> list[bytes]:
    if size == len(leaves):
        return [] if known else [root(leaves)]
    half = _split(len(leaves))
    if size <= half:
        return [*_subproof(leaves[:half], size, known=known), root(leaves[half:])]
    return [*_subproof(leaves[half:], size - half, known=False), root(leaves[:half])]


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _leaves(text: bytes, name: str) -> list[bytes]:
    *lines, rest = text.split(b"\n")
    if rest:
        raise ShapeError(f"{name} ends in the middle of a line")
    for number, line in enumerate(lines, 1):
        from_mapping(Entry, strict_json(line), f"{name}:{number}")
    return lines
