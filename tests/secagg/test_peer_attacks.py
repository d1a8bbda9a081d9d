"""Three attacks that read one site's update: they succeed on Flower 1.41's protocol, to the end, and fail on ours."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.secagg_peer import ours
from benchmarks.secagg_peer.attacks import recover_by_both, recover_by_invention, recover_by_seed
from benchmarks.secagg_peer.flower import key_pair, pair_key
from benchmarks.secagg_peer.seeds import CANDIDATES, first_outputs, folded, index_of, pair_seeds, search
from secure_fl.secagg.masks import add_masks

# A level of Flower's quantiser for a site of weight 0.1: 16 / 2^22 / 0.1.
LEVEL = 3.9e-5


def test_the_seeds_of_flowers_pairwise_masks_have_28_bits() -> None:
    mine = key_pair()
    seeds = [folded(pair_key(mine.secret, key_pair().public)) for _ in range(200)]
    assert ours.varying_bits([seed.to_bytes(4, "big") for seed in seeds]) == 28
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


# Ours


def stream(seed: bytes, words: int = 8) -> bytes:
    mask = np.zeros(words, np.uint32)
    add_masks(mask, plus=[seed], minus=[])
    return mask.tobytes()


def test_all_256_bits_of_our_pairwise_seeds_vary_each_about_half_of_the_time() -> None:
    seeds = ours.mask_seeds(200)
    assert ours.varying_bits(seeds) == 256
    ones = np.unpackbits(np.frombuffer(b"".join(seeds), np.uint8).reshape(200, 32), axis=1).sum(axis=0)
    assert ones.shape == (256,) and ones.min() >= 58 and ones.max() <= 142  # 6 σ


def test_every_bit_of_our_seed_counts() -> None:
    seed = bytes(range(32))
    flipped = [
        bytes(byte ^ (1 << bit if at == place else 0) for place, byte in enumerate(seed))
        for at in range(32)
        for bit in range(8)
    ]
    assert len({stream(each) for each in [seed, *flipped]}) == 257


def test_seeds_that_fold_to_the_same_word_have_different_masks() -> None:
    word = bytes.fromhex("0123456789abcdef")
    one, other = word + bytes(24), bytes(24) + word
    assert folded(one) == folded(other)
    assert stream(one) != stream(other)


def test_the_search_that_finds_flowers_seed_explains_nothing_of_ours() -> None:
    (seed,) = ours.mask_seeds(1)
    masked = np.frombuffer(stream(seed, 64), np.uint32)  # of zeros, which is more than any server knows
    for candidate in search([int(masked[0])], 0, 1 << 20):
        twister = np.random.RandomState(candidate).randint(0, 2**32 - 1, 64, dtype=np.int64)
        assert (twister != masked).sum() > 50


def test_the_request_for_both_shares_is_refused_by_every_site_that_it_asks() -> None:
    assert ours.ask_for_both() == "SECAGG_OTHER_SURVIVORS"


def test_a_second_story_and_a_second_opening_are_refused() -> None:
    assert ours.ask_twice() == "SECAGG_ALREADY_OPENED, SECAGG_ALREADY_AGREED"


def test_invented_neighbours_are_refused_under_known_names_and_as_strangers() -> None:
    assert ours.invent_neighbours() == "SECAGG_FORGED_ADVERT, SECAGG_NOT_ON_ROSTER"
