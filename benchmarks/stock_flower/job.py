"""The job that both sides of the comparison do, stated once.

Five sites (or as many as asked for) hold equal shares of the embedded digits, 16 x 16 px; each trains MobileNetV2
(small-images stem, group norm, ten classes) for one pass over 144 images, five steps of SGD. Sites are alike
and the pass is short, so that what is left of a round is what the machinery costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_fl.config import RunConfig

if TYPE_CHECKING:
    import torch

__all__ = ["IMAGES_PER_SITE", "WEIGHT_KEY", "initial_state", "job", "train_at_site"]

IMAGES_PER_SITE = 144
WEIGHT_KEY = "num-examples"  # FedAvg's own name for the weight of a reply


def job(*, rounds: int, sites: int) -> RunConfig:
    """The settings of the job; give them to `secure-fl run` for our side of it.

    Neither side validates at the sites: stock FedAvg is told not to, and ours has no validation images.
    """
    return RunConfig(
        dataset="digits",
        samples=IMAGES_PER_SITE * sites,
        partition="iid",
        val_fraction=0.0,
        model="mobilenet_v2",
        norm="group",
        stem="small-images",
        sites=sites,
        quorum=1.0,
        rounds=rounds,
        local_epochs=1,
        threads=1,
    )


def initial_state(config: RunConfig) -> dict[str, torch.Tensor]:
    """The state dict from which the first round starts, one tensor a layer."""
    from secure_fl.data import load_site
    from secure_fl.models import ModelSpec, initial_model

    images = load_site(config, 0).train
    spec = ModelSpec.of(config, classes=len(images.classes), image_size_px=images.images.shape[1])
    return initial_model(config, spec).state_dict()


def train_at_site(
    config: RunConfig, site: int, server_round: int, state: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], float, int]:
    """A site's share of one round from `state`: the new state dict, the training loss, the images used."""
    from secure_fl.data import load_site
    from secure_fl.models import ModelSpec, build_model
    from secure_fl.training.device import configure_torch
    from secure_fl.training.examples import Pictures
    from secure_fl.training.local import TrainSettings, train_locally
    from secure_fl.training.seeds import derive_seed

    configure_torch(config.threads, config.device)
    data = load_site(config, site)
    spec = ModelSpec.of(config, classes=len(data.train.classes), image_size_px=data.train.images.shape[1])
    model = build_model(spec, seed=config.seed)
    model.load_state_dict(state)
    result = train_locally(
        model,
        Pictures(data.train, data.normalisation),
        TrainSettings.of(config, round=server_round),
        seed=derive_seed(config.seed, "train", server_round, site),
    )
    return model.state_dict(), result.loss, result.samples
