"""All measurements of one run as one plain mapping, ready for a report: numbers, texts, and pixels as base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from audit.leakage.inversion import InversionAudit
from audit.leakage.membership import MembershipAudit
from audit.leakage.pictures import Picture
from audit.leakage.summary import DECISIVE, Assessment, PrivacyVerdict
from secure_fl.audited.leakage.claims import examine
from secure_fl.audited.leakage.membership import audit_model, candidates
from secure_fl.audited.leakage.models import CheckedModels, check_models
from secure_fl.audited.leakage.noise import Updates
from secure_fl.audited.leakage.reconstruction import reconstruct
from secure_fl.models import VectorSpec, load_model
from secure_fl.privacy.regime import planned
from secure_fl.runs import RunRecord
from secure_fl.training.device import torch_threads
from secure_fl.training.seeds import derive_seed

__all__ = ["measure_leakage"]

MOST_IMAGES = 1_000
"""Of members and of others."""
_NO_CLAIM_DELTA = 1e-5
_PIXELS_PER_S = 25_000  # that MobileNetV2 judges, beside two reference models that are trained, on one slow core


def measure_leakage(
    record: RunRecord, *, seed: int, budget_s: float = 40.0, updates: Updates | None = None
) -> dict[str, Any]:
    """What the run gives away, by the keys "membership", "inversion", "privacy", "manifest", "findings", "assumes".

    seed: moves which images are taken, coins and reference models. The replayed mechanism draws its noise from the
    system, as sites do, so its numbers differ a little from call to call. budget_s: about how long this may take on
    one core; where images are large, fewer are judged. updates: what the sites sent, if it was captured.

    Raises:
        NotFoundError: the run has no final model.
        SecureFLError: its model, checkpoints or data cannot be used.
    """
    config = planned(record.config)
    with torch_threads(1):
        model, card = load_model(record.folder / "model.safetensors")
        rng = np.random.default_rng(derive_seed(seed, "candidates"))
        most = int(budget_s * _PIXELS_PER_S / card.spec.image_size_px**2) // 2
        chosen = candidates(config, min(most, MOST_IMAGES), rng)
        attacks: tuple[MembershipAudit, ...] = ()
        if not isinstance(chosen, str):
            delta = config.dp_delta if config.dp_at_sites else _NO_CLAIM_DELTA
            attacks = audit_model(model, chosen, delta=delta, confidence=DECISIVE, seed=seed)
        inversion = reconstruct(config, seed=seed)
        examined = examine(record, VectorSpec.of(model), attacks, seed=seed, updates=updates)
        checked = check_models(record, model, card.spec)  # last, as it overwrites the model
    return {
        "membership": [_membership(each) for each in attacks],
        "membership_note": chosen if isinstance(chosen, str) else "",
        "inversion": _inversion(inversion),
        "privacy": {
            "note": " ".join(examined.notes),
            "verdict": examined.verdict.value,
            "bounds": [line for name, each in examined.assessments.items() for line in _bounds(name, each)],
        },
        "manifest": _manifest(checked),
        "findings": [
            {"rule": found.rule, "message": f"{name}: {found.message}"}
            for name, each in examined.assessments.items()
            for found in each.findings
        ]
        + [
            {"rule": each.rule, "message": f"model of round {round}: {each.message}"}
            for round, each in checked.findings
        ],
        "assumes": sorted(
            {inversion.assumes, *(each.assumes for each in attacks)}
            | {text for each in examined.assessments.values() for text in each.assumes}
        ),
    }


def _membership(found: MembershipAudit) -> dict[str, Any]:
    return {
        "attack": found.attack,
        "members": found.members,
        "non_members": found.nonmembers,
        "auc": found.roc.auc,
        "auc_low": found.roc.auc_interval[0],
        "auc_high": found.roc.auc_interval[1],
        "points": [{"fpr": fpr, "tpr": tpr} for fpr, tpr in found.roc.points],
        "at": [
            {"fpr": each.at, "tpr": each.rate, "low": each.interval[0], "high": each.interval[1]}
            for each in found.true_positives
            if each.interval is not None
        ],
        "advantage": found.advantage,
        "epsilon_low": found.epsilon_low,
        "assumes": found.assumes,
    }


def _inversion(found: InversionAudit) -> dict[str, Any]:
    shown = {"unprotected": found.plain, **found.protected}
    return {
        "title": "Gradient inversion of one update: one picture, one step, a small network",
        "source": "a test image of the coordinator's, not a site's",
        "original": _picture(found.original),
        "reconstructions": [
            {"protection": name, "picture": _picture(each.picture), "psnr_db": each.psnr_db, "ssim": each.ssim}
            for name, each in shown.items()
        ],
        "steps": found.steps,
        "assumes": found.assumes,
    }


def _manifest(checked: CheckedModels) -> dict[str, Any]:
    verdict = PrivacyVerdict.CONSISTENT if checked.models else PrivacyVerdict.NOT_TESTED
    if checked.findings or checked.expected != checked.seen:
        verdict = PrivacyVerdict.VIOLATED
    return {
        "outcome": verdict.value,
        "expected_sha256": checked.expected.removeprefix("sha256:"),
        "seen_sha256": checked.seen.removeprefix("sha256:"),
        "detail": f"{checked.models} models were looked at, and {len(checked.findings)} traps or differences found",
    }


def _picture(pixels: Picture) -> dict[str, Any]:
    height, width, channels = pixels.shape
    content = base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()
    return {"width": width, "height": height, "channels": channels, "pixels": content}


def _bounds(name: str, given: Assessment) -> list[dict[str, Any]]:
    """One line a bound and one a noise test, each with its own outcome."""
    claimed = given.claim.epsilon if given.claim else None
    lines = []
    for bound in given.bounds:
        exceeds = claimed is not None and bound.epsilon > claimed
        detail = "; ".join(filter(None, (name, bound.detail)))
        exceeds = exceeds and bound.confidence >= DECISIVE
        lines.append(
            _line(bound.method, claimed, bound.epsilon, bound.confidence, None, exceeds, detail, bound.assumes)
        )
    for where, test in given.noise.items():
        low, high = test.ratio_interval
        detail = (
            f"{name}; {test.coordinates} coordinates; measured/claimed σ = {test.ratio:.4f}"
            f" (99.9 %: {low:.3f} to {high:.3f}); flags: {', '.join(test.flags) or 'none'}"
        )
        wrong = any(where in found.place.path for found in given.findings)
        lines.append(_line(f"χ² of the noise, {where}", claimed, None, None, test.p_small, wrong, detail, test.assumes))
    return lines


def _line(
    test: str,
    claimed: float | None,
    lower: float | None,
    confidence: float | None,
    p_value: float | None,
    violated: bool,
    detail: str,
    assumes: str,
) -> dict[str, Any]:
    verdict = PrivacyVerdict.VIOLATED if violated else PrivacyVerdict.CONSISTENT
    outcome = verdict if claimed is not None else PrivacyVerdict.NOT_TESTED
    return {
        "test": test,
        "site": "",
        "claimed": claimed,
        "lower": lower,
        "confidence": confidence,
        "p_value": p_value,
        "outcome": outcome.value,
        "detail": detail,
        "assumes": assumes,
    }
