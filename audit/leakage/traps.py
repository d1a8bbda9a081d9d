"""Weights that no training makes, and that hand a site's pictures to whoever sent them.

A malicious server need not break anything: it sends a model whose gradient is the data. The published ways leave
traces in the values, whatever the tensors are called:

    parallel rows     one measurement repeated with rising thresholds: the imprint module of Fowl et al. 2022,
                      "Robbing the Fed"; Zhao et al. 2024, "LOKI", which gives each site one of its own
    mirrored rows     half of each row is the other half, negated and scaled, so that a row fires for almost no picture
                      but one: the trap weights of Boenisch et al. 2023, "When the Curious Abandon Honesty"
    identity filters  convolutions that only pass pictures on to the layer that copies them (both of the first)
    huge values       scaled so that one picture's gradient drowns the others' (LOKI's convolutional scaling factor)

Judged are the rows of every tensor of two and more axes. Rows of fewer than 27 numbers (depthwise filters) are left to
the shapes of the manifest: among nine numbers such patterns come about by themselves. Thresholds lie far outside of
what initial, trained and pretrained networks show (the tests hold them to no false alarm); an attacker who knows them
can stay below, with weaker reconstructions. So this is the second fence; the first is `manifest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.findings import Finding, Place

__all__ = ["RowStatistics", "inspect_weights", "row_statistics"]

Tensors = Mapping[str, npt.NDArray[np.generic]]

_LEAST_LENGTH, _LEAST_ROWS, _LEAST_MIRRORED = 27, 8, 16
_SAME_DIRECTION = 1 - 1e-5
_MOST_PARALLEL = 0.1  # share of a tensor's rows; real networks: 0
_MOST_IDENTITIES = 0.1
_MOST_MIRRORED = 3.0  # real networks: at most 1.2
_MOST_VALUE = 1e3
_SAMPLED_ROWS = 4_096


@dataclass(frozen=True)
class RowStatistics:
    """Of one tensor's rows. parallel, identities: shares of the rows; mirrored: mean over deviation of the log ratios
    of negative to positive mass, which rows share if one recipe made them; largest: of the absolute values."""

    rows: int
    parallel: float
    mirrored: float
    identities: float
    largest: float


def inspect_weights(tensors: Tensors) -> tuple[Finding, ...]:
    """Findings of rules "trap/…" in the values of a received model; none for a model as training makes them.

    tensors: by name, of any shape and real dtype.
    """
    found: list[Finding] = []
    for name, tensor in tensors.items():
        values = np.asarray(tensor, np.float64)
        if not np.isfinite(values).all():
            found.append(_finding("not-finite", name, "holds numbers that are not finite"))
            continue
        if values.ndim < 2:
            continue
        seen = row_statistics(values)
        if seen.largest > _MOST_VALUE:
            found.append(_finding("huge-values", name, f"holds a weight of {seen.largest:.3g}"))
        if seen.rows < _LEAST_ROWS:
            continue
        if seen.parallel > _MOST_PARALLEL:
            found.append(_finding("parallel-rows", name, f"repeats one direction in {seen.parallel:.0%} of its rows"))
        if seen.mirrored > _MOST_MIRRORED:
            found.append(_finding("mirrored-rows", name, "has rows whose halves mirror each other at one scale"))
        if seen.identities > _MOST_IDENTITIES:
            found.append(
                _finding("identity-filters", name, f"only passes values on in {seen.identities:.0%} of its rows")
            )
    return tuple(found)


def row_statistics(tensor: npt.NDArray[np.float64]) -> RowStatistics:
    """tensor: (rows, …), finite. Short rows have their largest value looked at and nothing else."""
    rows = tensor.reshape(len(tensor), -1)
    largest = float(np.abs(rows).max(initial=0.0))
    if rows.shape[1] < _LEAST_LENGTH:
        return RowStatistics(len(rows), 0.0, 0.0, 0.0, largest)
    rows = rows[:_SAMPLED_ROWS]
    rows = rows[np.abs(rows).max(axis=1) > 0]  # rows of zeros measure nothing
    if not len(rows):
        return RowStatistics(0, 0.0, 0.0, 0.0, largest)
    scaled = rows / np.abs(rows).max(axis=1, keepdims=True)
    identities = (np.abs(scaled) > 1e-6).sum(axis=1) <= 1
    # An identity filter is parallel to others of its kind; it is counted once, as what it is.
    return RowStatistics(
        len(rows), _parallel(scaled[~identities]), _mirrored(scaled), float(identities.mean()), largest
    )


def _parallel(rows: npt.NDArray[np.float64]) -> float:
    """Share of the rows that point along (or against) another row."""
    if len(rows) < 2:
        return 0.0
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = np.abs(unit @ unit.T)
    np.fill_diagonal(cosines, 0.0)
    return float((cosines.max(axis=1) > _SAME_DIRECTION).mean())


def _mirrored(rows: npt.NDArray[np.float64]) -> float:
    positive, negative = np.maximum(rows, 0).sum(axis=1), np.maximum(-rows, 0).sum(axis=1)
    if len(rows) < _LEAST_MIRRORED or min(positive.min(), negative.min()) <= 0:
        return 0.0
    ratios = np.log(negative / positive)
    return float(abs(ratios.mean()) / max(float(ratios.std()), 1e-9))


def _finding(rule: str, name: str, what: str) -> Finding:
    return Finding(f"trap/{rule}", f"{name} {what}", Place(path=name, unit="array"))
