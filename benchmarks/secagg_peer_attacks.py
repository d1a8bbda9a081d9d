"""Three attacks on secure aggregation, against Flower 1.41's protocol and against ours.

    python -m benchmarks.secagg_peer_attacks [--quick] [--json]

Each is run to the end: against Flower, the server holds the victim's update within a level of the quantiser; against
ours, the site that is asked refuses, by a named error, before anything secret leaves it. The seed of the last mask is
searched among all 2^28 candidates by default, about a minute of one core; with --quick among 2^22 of them, those
around the true one, and the time for all is extrapolated. tests/secagg/test_peer_attacks.py runs the same in a small.
"""

from __future__ import annotations

import logging
import sys
import time

from benchmarks.report import Report, finish, need_peer, note, parser
from benchmarks.secagg_peer import ours
from benchmarks.secagg_peer.attacks import Recovery, recover_by_both, recover_by_invention, recover_by_seed
from benchmarks.secagg_peer.flower import key_pair, pair_key
from benchmarks.secagg_peer.seeds import CANDIDATES, folded

__all__ = ["main"]

_QUICK_CANDIDATES = 1 << 22
_LEVEL = 3.9e-5  # of Flower's quantiser, for the victim's weight
_KEYS = 400


def main() -> int:
    """Run all six; 0 when Flower's fall and ours do not."""
    need_peer("flwr", extra="test")
    options = parser(__doc__ or "").parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    candidates = _QUICK_CANDIDATES if options.quick else CANDIDATES
    report = Report("secagg_peer_attacks", {"candidates": candidates, "of": CANDIDATES, "keys": _KEYS})

    note(f"searching {candidates} seeds")
    began = time.process_time()
    by_seed = recover_by_seed(1, candidates=candidates)
    seconds = time.process_time() - began
    report.figure("seeds a CPU second", candidates / seconds)
    report.figure("CPU seconds for all 2^28 seeds", seconds * CANDIDATES / candidates)

    fallen = [_fell(report, "seed search", by_seed)]
    fallen.append(_fell(report, "both shares in one request", recover_by_both(2)))
    fallen.append(_fell(report, "invented neighbours", recover_by_invention(3)))
    report.bar("victims read under Flower's protocol, of 3", value=sum(fallen), bar=3, better="higher")

    note("the same against ours")
    refusals = {
        "both shares in one request": ours.ask_for_both(),
        "both shares one after the other": ours.ask_twice(),
        "invented neighbours": ours.invent_neighbours(),
    }
    report.figure("ours refuses by", {name: code or "nothing" for name, code in refusals.items()})
    answered = sum(not code for code in refusals.values())
    report.bar("attacks that ours does not refuse", value=answered, bar=0, better="lower")
    mine = key_pair()
    theirs = [folded(pair_key(mine.secret, key_pair().public)).to_bytes(4, "big") for _ in range(_KEYS)]
    report.figure("bits of a pairwise seed that vary, Flower", ours.varying_bits(theirs))
    varying = ours.varying_bits(ours.mask_seeds(_KEYS))
    report.bar("bits of a pairwise seed that vary, ours", value=varying, bar=256, better="higher")
    return finish(report, options)


def _fell(report: Report, name: str, recovery: Recovery) -> bool:
    report.figure(f"error of the recovered update, {name}", recovery.error)
    return recovery.error < _LEVEL


if __name__ == "__main__":
    sys.exit(main())
