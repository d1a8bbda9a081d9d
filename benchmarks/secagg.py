"""Secure aggregation: what it costs beside Flower's SecAgg+ and beside a sum in the clear.

    python -m benchmarks.secagg [--quick] [--portable] [--json]

Claims, at 2.24 million parameters, CPU seconds, one thread, a ring of 32 bits, all checks on:

    a site           at most 1/5 of Flower's time at n = 5, 10 and 20, at most 1/7 at n = 50
    the coordinator  at most 1/8, 1/12, 1/20, 1/100 of Flower's at n = 5, 10, 20, 50 without drop-outs, and at most 1/12
                     with 30 % of the sites silent after they have dealt their shares (n = 10, 20, 50)
    the coordinator  at most 2.5 times a weighted sum in the clear in NumPy, without drop-outs
    uplink           at most 1.001 times the 4·d bytes of the vector, all messages of a site counted, on the graph
                     that is used by default: complete up to 32 sites, sparse at 50
    the mean         relative root mean square error at most 2e-5 in 32 bits, n = 10

Moonshots are shown as figures and fail nothing: a site 15 times and the coordinator 30 times as fast as Flower in every
cell; a ring of 16 bits after a Hadamard rotation with half of the uplink and a relative error below 1e-3.

How it is measured. Ours and Flower's run in one process and take turns, each its own code from the first message to
the decoded mean (secagg_ours.py, secagg_flower.py), both on the complete graph with the same threshold. A ratio is
formed in each turn; the median of them counts, and of several cells the worst. A site's time is that of all its trips,
training left out: ours the mean over the survivors, Flower's that of one site. The sum in the clear multiplies and adds
in place what is in memory already. Where the extra `fast` and the processor allow it, many masks are machine code that
LLVM makes once a process; that is done before the first turn, and its time is a figure of its own. `--portable`
measures as on a machine without.

What is not like with like: ours signs and verifies every message, Flower's none. Flower's quantises to 22 bits of a
range of ±8 for each coordinate, ours to 31 bits of an L2 norm. At n = 5, 30 % is one site, and the coordinator's time
with it is shown without a bar. Nothing is a model: both sides run at every n, with the one shortcut that
secagg_flower.py tells of. `--quick` takes fewer turns, one at n = 50.
"""

from __future__ import annotations

import logging
import math
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.report import Better, Report, finish, note, parser, summary

if TYPE_CHECKING:
    from benchmarks.secagg_ours import Codec
    from secure_fl.secagg.ring import Vector

__all__ = ["BARS", "Cell", "Found", "hold", "inputs", "main", "measure", "measure_narrow"]

PARAMETERS = 2_240_000
SITES = (5, 10, 20, 50)
_NARROW = 10  # sites of the 16-bit ring
_CLIP, _MAX_WEIGHT = 5.0, 1000


class Cell(NamedTuple):
    """What a ratio is of; `silent`: how many sites drop out."""

    what: str
    n: int
    silent: int


Found = Mapping[Cell, Sequence[float]]
"""By cell, the ratio or value in each turn."""

_SITE, _COORDINATOR = "site: Flower / ours", "coordinator: Flower / ours"
_CLEAR, _UPLINK, _ERROR = "coordinator: ours / in the clear", "uplink / 4·d bytes", "relative RMSE of the mean"
_COMPLETE_UPLINK = "uplink on the complete graph / 4·d bytes"

# What, which n, whether sites fall silent (None: either), the bar, and which side of it is better.
BARS: tuple[tuple[str, tuple[int, ...], bool | None, float, Better], ...] = (
    (_SITE, (5, 10, 20), None, 5.0, "higher"),
    (_SITE, (50,), None, 7.0, "higher"),
    (_COORDINATOR, (5,), False, 8.0, "higher"),
    (_COORDINATOR, (10,), False, 12.0, "higher"),
    (_COORDINATOR, (20,), False, 20.0, "higher"),
    (_COORDINATOR, (50,), False, 100.0, "higher"),
    (_COORDINATOR, (10, 20, 50), True, 12.0, "higher"),
    (_CLEAR, SITES, False, 2.5, "lower"),
    (_UPLINK, SITES, None, 1.001, "lower"),
    (_ERROR, (10,), None, 2e-5, "lower"),
)
_MOONSHOTS = ((_SITE, 15.0), (_COORDINATOR, 30.0))


def main() -> int:
    """Measure all cells and hold ours against the bars."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is imported
    made = parser(__doc__ or "")
    made.add_argument("--portable", action="store_true", help="as where the extra `fast` is not installed")
    options = made.parse_args()
    if options.portable:
        sys.modules["llvmlite"] = sys.modules["llvmlite.binding"] = None  # type: ignore[assignment]
    logging.disable(logging.INFO)  # Flower writes several lines for each round
    turns = dict(zip(SITES, (3, 3, 2, 1) if options.quick else (7, 7, 5, 3), strict=True))
    report = Report(
        "secagg",
        {
            "parameters": PARAMETERS,
            "threads": 1,
            "clock": "cpu_s",
            "turns": turns,
            "quick": options.quick,
            "portable": options.portable,
        },
    )
    _load(report)
    found: dict[Cell, list[float]] = {}
    for n in SITES:
        found |= measure(report, n, PARAMETERS, turns=turns[n])
    measure_narrow(report, _NARROW, PARAMETERS, turns=turns[_NARROW])
    hold(report, found)
    return finish(report, options)


def _load(report: Report) -> None:
    """Have the masks' machine code made, where it can be."""
    from secure_fl.secagg.compiled_masks import mask_kernel

    for bits in (16, 32):
        started = time.process_time()
        made = mask_kernel(bits) is not None
        spent_ms = 1e3 * (time.process_time() - started)
        report.figure(f"machine code for masks of {bits} bits, once a process, ms", spent_ms if made else "none")


def inputs(n: int, d: int) -> tuple[list[Vector], list[int]]:
    """Updates with a common direction and norms below the clip, and weights; at most 8 different vectors, which are
    more than the cache holds."""
    import numpy as np

    random = np.random.default_rng(0)
    common = random.standard_normal(d, dtype=np.float32)
    own = [common + random.standard_normal(d, dtype=np.float32) for _ in range(min(n, 8))]
    for update in own:
        update *= np.float32(0.8 * _CLIP / np.linalg.norm(update))
    return [own[site % len(own)] for site in range(n)], [int(each) for each in random.integers(30, 200, n)]


def measure(report: Report, n: int, d: int, *, turns: int) -> dict[Cell, list[float]]:
    """The ratios of n sites, without and with drop-outs; their figures go into the report."""
    from benchmarks.secagg_flower import FlowerRound
    from benchmarks.secagg_ours import complete, our_round, plain_s
    from secure_fl.secagg.graph import shape_of, threshold_of
    from secure_fl.secagg.ring import FixedPoint, Ring

    updates, weights = inputs(n, d)
    codec = FixedPoint(Ring(32), n, _CLIP, _MAX_WEIGHT)
    found: dict[Cell, list[float]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(turns):
        flower = FlowerRound(updates, weights, threshold=threshold_of(n))
        for silent in (0, max(1, int(0.3 * n))):
            ours, theirs = our_round(updates, weights, codec, dropped=silent), flower.end(silent)
            there = n - silent
            clear_s = plain_s(updates[:there], weights[:there])
            values = {
                _SITE: theirs.client_s / ours.client_s,
                _COORDINATOR: theirs.server_s / ours.server_s,
                _CLEAR: ours.server_s / clear_s,
                (_UPLINK if shape_of(n) == complete(n) else _COMPLETE_UPLINK): ours.uplink / (4 * d),
                _ERROR: _relative_error(ours.mean, updates[:there], weights[:there]),
            }
            for what, value in values.items():
                found[Cell(what, n, silent)].append(value)
            label = f"n={n}, {silent} silent"
            seconds[f"{label}: site, ours, ms"].append(1e3 * ours.client_s)
            seconds[f"{label}: site, Flower, ms"].append(1e3 * theirs.client_s)
            seconds[f"{label}: coordinator, ours, ms"].append(1e3 * ours.server_s)
            seconds[f"{label}: coordinator, Flower, ms"].append(1e3 * theirs.server_s)
            seconds[f"{label}: sum in the clear, ms"].append(1e3 * clear_s)
            note(f"{label}: " + ", ".join(f"{what} {value:.4g}" for what, value in values.items()))
        if shape_of(n) != complete(n):
            sparse = our_round(updates, weights, codec, dropped=0, graph=shape_of(n))
            found[Cell(_UPLINK, n, 0)].append(sparse.uplink / (4 * d))
            seconds[f"n={n}, sparse graph of {shape_of(n).neighbours}: site, ours, ms"].append(1e3 * sparse.client_s)
            seconds[f"n={n}, sparse graph of {shape_of(n).neighbours}: coordinator, ms"].append(1e3 * sparse.server_s)
    for name, spent in seconds.items():
        report.figure(name, summary(spent))
    for cell, ratios in found.items():
        report.figure(f"n={cell.n}, {cell.silent} silent: {cell.what}", summary(ratios))
    return dict(found)


def measure_narrow(report: Report, n: int, d: int, *, turns: int) -> None:
    """The ring of 16 bits with and without a rotation, beside that of 32: figures, no bars."""
    from benchmarks.secagg_ours import our_round
    from secure_fl.secagg.ring import FixedPoint, Ring
    from secure_fl.secagg.rotation import RotatedFixedPoint, Rotation

    updates, weights = inputs(n, d)
    limits = (n, _CLIP, max(weights))
    codecs: dict[str, Codec] = {
        "32 bits": FixedPoint(Ring(32), *limits),
        "16 bits": FixedPoint(Ring(16), *limits),
        "16 bits, rotated": RotatedFixedPoint(Ring(16), *limits, Rotation(d, bytes(32))),
    }
    costs = {
        name: [our_round(updates, weights, codec, dropped=0) for _ in range(turns)] for name, codec in codecs.items()
    }
    for name, runs in costs.items():
        error = _relative_error(runs[0].mean, updates, weights)
        report.figure(f"n={n}, {name}: site, ms", summary([1e3 * run.client_s for run in runs]))
        report.figure(f"n={n}, {name}: coordinator, ms", summary([1e3 * run.server_s for run in runs]))
        report.figure(f"n={n}, {name}: {_UPLINK}", runs[0].uplink / (4 * d))
        report.figure(f"n={n}, {name}: {_ERROR}", error)
        note(f"n={n}, {name}: uplink {runs[0].uplink / (4 * d):.4f}, relative error {error:.2g}")
    runs = costs["16 bits, rotated"]
    half, error = runs[0].uplink / (4 * d), _relative_error(runs[0].mean, updates, weights)
    reached = "reached" if half <= 0.501 and error <= 1e-3 else "not reached"
    report.figure(f"moonshot, 16 bits rotated, half of the uplink at an error below 1e-3 ({reached})", error)


def _relative_error(mean: Vector, updates: Sequence[Vector], weights: Sequence[int]) -> float:
    """‖mean − exact‖ / ‖exact‖, the exact weighted mean in float64."""
    import numpy as np

    exact = np.zeros(mean.size)
    for update, weight in zip(updates, weights, strict=True):
        exact += weight * update.astype(np.float64)
    exact /= sum(weights)
    return float(np.linalg.norm(mean - exact) / np.linalg.norm(exact))


def hold(report: Report, found: Found) -> None:
    """Hold the worst cell of each claim against its bar; a claim without a cell stands as missed."""
    for what, sizes, silent, bar, better in BARS:
        cells = [cell for cell in found if cell.what == what and cell.n in sizes and silent in (None, cell.silent > 0)]
        worst = _worst(found, cells, better)
        where = f" (worst: n={worst.n}, {worst.silent} silent)" if worst else ""
        value = statistics.median(found[worst]) if worst else math.nan
        report.bar(f"{what}, n in {sizes}{where}", value=value, bar=bar, better=better)
    for what, aim in _MOONSHOTS:
        worst = _worst(found, [cell for cell in found if cell.what == what], "higher")
        if worst:
            value = statistics.median(found[worst])
            reached = "reached" if value >= aim else "not reached"
            name = (
                f"moonshot, {what} at least {aim:g} everywhere ({reached}; worst: n={worst.n}, {worst.silent} silent)"
            )
            report.figure(name, value)


def _worst(found: Found, cells: Sequence[Cell], better: str) -> Cell | None:
    choose = min if better == "higher" else max
    return choose(cells, key=lambda cell: statistics.median(found[cell]), default=None)


if __name__ == "__main__":
    sys.exit(main())
