"""Three attacks that read one site's update: they succeed on Flower 1.41's protocol, to the end, and fail on ours."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.secagg_peer.attacks import recover_by_both, recover_by_invention, recover_by_seed
from benchmarks.secagg_peer.flower import key_pair, pair_key
from benchmarks.secagg_peer.seeds import CANDIDATES, first_outputs, folded, index_of, pair_seeds, search

# A level of Flower's quantiser for a site of weight 0.1: 16 / 2^22 / 0.1.
LEVEL = 3.9e-5


def bits_that_vary(seeds: list[int]) -> int:
    ever, always = np.bitwise_or.reduce(seeds), np.bitwise_and.reduce(seeds)
    return int(ever & ~always).bit_count()


def test_the_seeds_of_flowers_pairwise_masks_have_28_bits() -> None:
    mine = key_pair()
    seeds = [folded(pair_key(mine.secret, key_pair().public)) for _ in range(200)]
    assert bits_that_vary(seeds) == 28
    assert np.bitwise_or.reduce(seeds) == 0x7F7F7F7F
    assert CANDIDATES == 2**28


@pytest.mark.parametrize("seed", [0, 1, 12345, 0x7F7F7F7F, 2**32 - 1])
def test_our_first_output_is_that_of_the_twister(seed: int) -> None:
    theirs = np.random.RandomState(seed).randint(0, 2**32 - 1, 1, dtype=np.int64)
    assert first_outputs(np.array([seed], np.uint32)) == theirs


def test_candidates_are_all_seeds_with_four_bits_zero_each_once() -> None:
    seeds = pair_seeds(0, 1 << 14)
    assert len(np.unique(seeds)) == 1 << 14 and not (seeds & 0x80808080).any()
    assert pair_seeds(CANDIDATES - 1, CANDIDATES) == 0x7F7F7F7F
    assert [index_of(int(seed)) for seed in seeds[:300]] == list(range(300))


def test_a_search_finds_the_seed_of_an_output_and_no_other_in_its_part() -> None:
    word = int(first_outputs(pair_seeds(70_000, 70_001))[0])
    assert search([word], 65_536, 131_072) == [int(pair_seeds(70_000, 70_001)[0])]
    assert search([word], 0, 65_536) == []


def test_a_curious_flower_server_with_one_colluder_finds_the_last_seed_and_reads_the_victim() -> None:
    # 2^20 of the 2^28 candidates; benchmarks.secagg_peer_attacks searches them all.
    assert recover_by_seed(1, candidates=1 << 20).error < LEVEL


def test_one_request_to_flowers_clients_opens_both_secrets_of_the_victim() -> None:
    assert recover_by_both(2).error < LEVEL


def test_a_flower_client_sends_its_shares_to_neighbours_that_the_server_invented() -> None:
    assert recover_by_invention(3).error < LEVEL
