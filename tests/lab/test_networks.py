"""The networks have the sizes of their papers, and their fast form computes the plain one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from secure_fl.errors import ConfigError
from secure_fl.lab.networks import NETWORKS, ConvPair, network_named


@pytest.mark.parametrize(("name", "size"), [("conv_pair", 80_202), ("byzfl_cnn", 431_080)])
def test_published_networks_have_the_published_number_of_parameters(name: str, size: int) -> None:
    module = network_named(name).build(10, 28, 0)
    assert sum(each.numel() for each in module.parameters()) == size


def test_the_fast_form_is_the_plain_network() -> None:
    torch.manual_seed(0)
    module, x = ConvPair(4, 6, 8, 10), torch.randn(3, 1, 28, 28)
    plain = F.max_pool2d(F.relu(module.conv1(x)), 2)
    plain = F.max_pool2d(F.relu(module.conv2(plain)), 2)
    plain = module.fc2(F.relu(module.fc1(plain.flatten(1))))
    torch.testing.assert_close(module(x), plain)


@pytest.mark.parametrize("name", NETWORKS)
def test_first_weights_come_from_the_seed_alone(name: str) -> None:
    network, before = NETWORKS[name], torch.get_rng_state()
    one, two, other = (list(network.build(10, 28, seed).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        network_named("vgg")
    assert "conv_pair" in caught.value.fix
