"""The lab deals images as real runs do, and its fast augmentation does what the slow words say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secure_fl.data import fingerprint_partition, load_site, open_dataset, partition_labels
from secure_fl.lab.data import augment_batch, data_config, load_federation, to_input
from secure_fl.lab.networks import network_named
from secure_fl.lab.scenario import Scenario


def test_clients_hold_the_images_that_the_sites_of_a_run_hold() -> None:
    scenario = Scenario(model="light_cnn", clients=3, partition="dirichlet", root_samples=0, seed=5)
    federation = load_federation(scenario, network_named("light_cnn"))
    config = data_config(scenario).changed({"val-fraction": 0.0})
    for client, shard in enumerate(federation.clients):
        site = load_site(config, client).train
        assert np.array_equal(shard.images, site.images)
        assert np.array_equal(shard.labels, site.labels)
    parts = partition_labels(open_dataset(config).train.labels, config=config)
    assert federation.fingerprint == fingerprint_partition(parts)


def test_root_images_belong_to_the_coordinator_alone(small: Scenario) -> None:
    federation = load_federation(small, network_named("softmax"))
    assert len(federation.root) == 50
    assert sum(map(len, federation.clients)) == 400
    assert set(np.unique(federation.root.labels)) == set(range(10))


def test_a_share_of_each_client_is_set_aside(small: Scenario) -> None:
    whole = load_federation(small, network_named("softmax"))
    part = load_federation(small.changed(val_fraction=0.2), network_named("softmax"))
    assert [len(each) for each in part.clients] == [len(each) - round(0.2 * len(each)) for each in whole.clients]


def test_grey_networks_read_one_channel(small: Scenario) -> None:
    assert load_federation(small, network_named("softmax")).test.images.shape == (100, 16, 16, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_flip_pad_is_a_crop_of_the_padded_image_and_a_flip(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 10, 10, channels), dtype=np.uint8)
    changed = augment_batch(images, "flip-pad", torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    down, right = torch.randint(0, 9, (2, 40), generator=generator).tolist()
    mirrored = torch.rand(40, generator=generator) < 0.5
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for k, image in enumerate(padded):
        window = image[down[k] : down[k] + 10, right[k] : right[k] + 10]
        assert np.array_equal(changed[k], window[:, ::-1] if mirrored[k] else window)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_scaled_and_normalised_by_channel(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, channels), dtype=np.uint8)
    mean, std = (0.1, 0.2, 0.3)[:channels], (0.4, 0.5, 0.6)[:channels]
    naive = (images / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(to_input(images, mean, std).numpy(), naive.transpose(0, 3, 1, 2), atol=1e-6)
