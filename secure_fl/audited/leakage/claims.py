"""What a run claims of its privacy, and what was measured of it: in the run itself, and of the mechanism it used.

Two assessments for each unit of privacy, because they prove different things:

    the run        noise in its own models and updates, and membership inference on its final model
    the mechanism  canaries through the code that sites (or the coordinator) run, with the run's settings

Both hold the measured against the accountant's ε for the steps that were really taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from audit.leakage.gaussian import audit_gaussian
from audit.leakage.membership import MembershipAudit
from audit.leakage.noise import NoiseTest, judge_noise
from audit.leakage.one_run import audit_one_run
from audit.leakage.summary import DECISIVE, Assessment, Claim, LowerBound, PrivacyVerdict, assess
from secure_fl.audited.leakage.engine import MOST_STEPS, Replay, replay_coordinator, replay_site
from secure_fl.audited.leakage.noise import Updates, noise_in_models, noise_in_updates
from secure_fl.models import VectorSpec
from secure_fl.privacy.accounting import PrivacyEvent, epsilon
from secure_fl.privacy.randomness import Randomness
from secure_fl.privacy.regime import client_event, planned, sample_event
from secure_fl.runs import RunRecord
from secure_fl.training.seeds import derive_seed

__all__ = ["CANARIES", "Examined", "examine"]

CANARIES = 5_000
_CUSTOMARY = 0.95
_MEASURED = "the accountant's ε, which is exact to 0.01, at the largest σ that the measured noise allows"


@dataclass(frozen=True)
class Examined:
    """assessments: by what was examined; notes: what could not be tested, and what is to be known of the rest."""

    assessments: Mapping[str, Assessment]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> PrivacyVerdict:
        """The worst of all."""
        verdicts = [each.verdict for each in self.assessments.values()]
        for worst in (PrivacyVerdict.VIOLATED, PrivacyVerdict.CONSISTENT):
            if worst in verdicts:
                return worst
        return PrivacyVerdict.NOT_TESTED


def examine(
    record: RunRecord, spec: VectorSpec, attacks: Sequence[MembershipAudit], *, seed: int, updates: Updates | None
) -> Examined:
    """Hold the run's claims against measurements; attacks: membership inference on its final model."""
    config = planned(record.config)
    rounds = max((row.round for row in record.rounds()), default=0)
    if not (config.dp_at_sites or config.dp_of_sites) or not rounds:
        bounds = [_membership_bound(each) for each in attacks]
        return Examined({"run": assess(None, bounds, {})}, ("The run claims no differential privacy.",))
    noise, notes = _noise_of(record, spec, updates)
    if config.insecure_test_rng:
        notes.append("The noise came from a seed (insecure-test-rng): whoever knows it can take the noise away.")
    randomness = Randomness.from_system()
    if config.insecure_test_rng:
        randomness = Randomness.insecure_for_tests(derive_seed(seed, "replay"))
    coins = np.random.default_rng(derive_seed(seed, "coins"))
    assessments: dict[str, Assessment] = {}
    if config.dp_at_sites:
        event = sample_event(config, rounds=rounds)
        claim = _claim("image", event, config.dp_clip, config.dp_delta)
        bounds = [_membership_bound(each) for each in attacks] + _by_noise(event, config.dp_delta, noise)
        assessments["run, each image"] = assess(claim, bounds, noise)
        short = _shortened(event, notes)
        replay = replay_site(short, config.dp_clip, canaries=CANARIES, coins=coins, randomness=randomness)
        assessments["engine of the sites"] = _replayed(replay, "image", config.dp_clip, config.dp_delta)
    if config.dp_of_sites:
        event = client_event(config, rounds=rounds)
        claim = _claim("site", event, config.dp_client_clip, config.dp_delta)
        noise = {} if config.dp_at_sites else noise
        assessments["run, each site"] = assess(claim, _by_noise(event, config.dp_delta, noise), noise)
        if config.dp_distributed:
            notes.append("The sites add the noise that protects each of them in shares, which were not replayed.")
            return Examined(assessments, tuple(notes))
        short = _shortened(event, notes)
        replay = replay_coordinator(short, config.dp_client_clip, canaries=CANARIES, coins=coins, randomness=randomness)
        assessments["mechanism of the coordinator"] = _replayed(replay, "site", config.dp_client_clip, config.dp_delta)
    return Examined(assessments, tuple(notes))


def _noise_of(record: RunRecord, spec: VectorSpec, updates: Updates | None) -> tuple[dict[str, NoiseTest], list[str]]:
    """The noise tests that the run allows, and why others were not possible."""
    found: dict[str, NoiseTest] = {}
    notes = [
        "The mechanism was replayed with canaries on this machine; what the run did is judged by its own noise.",
        "No mislabelled pictures were put among those of the sites: they would have changed what was trained.",
    ]
    results = {"models of the run": noise_in_models(record, spec)}
    if updates is not None:
        results["updates of the run"] = noise_in_updates(record, spec, updates)
    for where, result in results.items():
        if isinstance(result, str):
            notes.append(f"The noise in the {where} was not tested: {result}.")
        else:
            found[where] = result
    return found, notes


def _replayed(replay: Replay, unit: str, clip: float, delta: float) -> Assessment:
    claim = _claim(unit, replay.event, clip, delta)
    noise = {"replayed mechanism": judge_noise(replay.noise, replay.noise_std)}
    bounds = _by_noise(replay.event, delta, noise)
    # The bound's term in δ does not fall below about 4δ, so that at 99.9 % it could prove nothing.
    guessed = audit_one_run(replay.scores, replay.included, delta=delta, confidence=_CUSTOMARY)
    detail = f"{guessed.right} of {guessed.guesses} coins guessed; at most ε = {guessed.ceiling:.2f} can be proved"
    bounds.append(LowerBound("one run", guessed.epsilon_low, _CUSTOMARY, guessed.assumes, detail))
    if replay.event.sample_rate == 1:  # where records are drawn, scores are no longer two Gaussians
        shifted = audit_gaussian(replay.scores, replay.included, delta=delta)
        bounds.append(LowerBound("Gaussian mechanism", shifted.epsilon_low, shifted.confidence, shifted.assumes))
    return assess(claim, bounds, noise)


def _by_noise(event: PrivacyEvent, delta: float, noise: Mapping[str, NoiseTest]) -> list[LowerBound]:
    """What the accountant would charge for the largest noise that each test leaves possible."""
    bounds = []
    for where, test in noise.items():
        largest = replace(event, noise_multiplier=event.noise_multiplier * test.ratio_interval[1])
        charged = epsilon([largest], delta)
        if charged.accountant == "prv":  # another accountant's slack would look like leakage
            bounds.append(LowerBound(f"measured noise, {where}", charged.value, DECISIVE, _MEASURED))
    return bounds


def _membership_bound(found: MembershipAudit) -> LowerBound:
    return LowerBound(f"membership, {found.attack}", found.epsilon_low, found.confidence, found.assumes)


def _claim(unit: str, event: PrivacyEvent, clip: float, delta: float) -> Claim:
    return Claim(
        unit=unit,
        noise_multiplier=event.noise_multiplier,
        clip=clip,
        sample_rate=event.sample_rate,
        steps=event.steps,
        delta=delta,
        epsilon=epsilon([event], delta).value,
    )


def _shortened(event: PrivacyEvent, notes: list[str]) -> PrivacyEvent:
    if event.steps <= MOST_STEPS:
        return event
    notes.append(f"Of {event.steps} steps {MOST_STEPS} were replayed, and held against the ε of as many.")
    return replace(event, steps=MOST_STEPS)
