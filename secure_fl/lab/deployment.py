"""A scenario as the settings of a real run: the same data, training, attack and defense, with processes and TLS.

What only the lab has is refused rather than left out, because a run that silently differs from its scenario would be
compared with it. One difference remains: in a run the last sites attack, in the lab the seed draws who does.
"""

from __future__ import annotations

from secure_fl.compositions import FEDAVG
from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from secure_fl.lab.museum import EXHIBITS
from secure_fl.lab.scenario import Scenario

__all__ = ["run_config"]

_MODELS = ("light_cnn", "mobilenet_v2")


def run_config(scenario: Scenario) -> RunConfig:
    """The settings of a run on the deployment grid.

    Raises:
        ConfigError: the scenario asks for what real runs do not have; or as `RunConfig`.
    """
    for setting, value, reason in _lab_only(scenario):
        raise ConfigError(f"`{setting}` is {value}, which real runs do not have", why=reason, fix="choose --grid local")
    robust = scenario.defense != FEDAVG
    return RunConfig(
        grid="deployment",
        dataset=scenario.dataset,
        data_dir=scenario.data_dir,
        samples=scenario.samples,
        test_samples=scenario.test_samples,
        image_size=scenario.image_size,
        partition=scenario.partition,
        alpha=scenario.alpha,
        classes_per_site=scenario.classes_per_site,
        min_size=scenario.min_size,
        val_fraction=scenario.val_fraction,
        model=scenario.model,
        rounds=scenario.rounds,
        local_epochs=scenario.local_epochs,
        batch_size=scenario.batch_size,
        lr=scenario.lr,
        momentum=scenario.momentum,
        grad_clip=scenario.grad_clip,
        weight_decay=scenario.weight_decay,
        augment=scenario.augment,
        defense=scenario.defense,
        byzantine=scenario.byzantine if robust else 0,
        root_samples=scenario.root_samples if scenario.defense_steps[-1][0] == "fltrust" else 0,
        secagg=scenario.secagg,
        secagg_group_size=scenario.secagg_group_size,
        secagg_clip=scenario.secagg_clip,
        attack=scenario.attack if scenario.attackers else "",
        attackers=scenario.attackers if scenario.attack else 0,
        sites=scenario.clients,
        seed=scenario.seed,
    )


def _lab_only(scenario: Scenario) -> list[tuple[str, str, str]]:
    """Settings that only the lab has, as (key, value, why a run lacks it)."""
    found = []
    if scenario.model not in _MODELS:
        found.append(("model", scenario.model, f"sites train {' or '.join(_MODELS)}"))
    if scenario.defense in EXHIBITS:
        found.append(("defense", scenario.defense, "it is there to be seen failing"))
    if scenario.weighting == "samples" and scenario.defense != FEDAVG:
        found.append(("weighting", scenario.weighting, "a robust rule must not count what clients claim"))
    if scenario.poisoning != "once":
        found.append(("poisoning", scenario.poisoning, "a site poisons its images once"))
    if scenario.augment == "flip-pad":
        found.append(("augment", scenario.augment, "sites mirror the border instead"))
    if scenario.pixel_std > 0:
        found.append(("pixel-std", f"{scenario.pixel_std:g}", "sites normalise as the data set says"))
    return found
