"""Three ways in which a server reads one client's update through Flower 1.41's SecAgg+.

`recover_by_seed`       an honest-but-curious server and one client that colludes with it: it searches the 2^28 seeds of
                        the one pairwise mask that is left
`recover_by_both`       an active server, no colluder: one request that names the victim as active and as dead
`recover_by_invention`  an active server, no colluder: the victim's neighbours are the server's inventions

Each is run to the end: what is returned is the victim's update as the server has it. The first needs no deviation that
a client could see; in the other two the clients' own checks pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.secagg_peer.flower import (
    LEVELS,
    MODULUS,
    FlowerSite,
    Words,
    encrypted_share,
    key_pair,
    mask_from_seed,
    opened_share,
    pair_key,
    pair_mask,
    private_mask,
    run_until_masked,
    secret_of,
    values_of,
    weight_of,
)
from benchmarks.secagg_peer.seeds import CANDIDATES, folded, index_of, search

__all__ = ["Recovery", "recover_by_both", "recover_by_invention", "recover_by_seed"]

_VICTIM = 1
_SIZE = 1_000
_EXAMPLES = 100


@dataclass(frozen=True)
class Recovery:
    """What the server has of the victim's update, and what the victim's update is."""

    recovered: NDArray[np.float64]
    update: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The greatest difference; a level of the quantiser is 3.8e-5 here."""
        return float(np.abs(self.recovered - self.update).max())


def recover_by_seed(seed: int, *, candidates: int = CANDIDATES) -> Recovery:
    """One client of three colludes. `candidates`: size of the searched block around the true seed, a power of two.

    Raises:
        ValueError: no candidate explains what was sent.
    """
    victim, honest, colluder = sites = _sites(seed, 3)
    keys, masked = run_until_masked(sites, threshold=2)
    # The round goes on as it should: everybody opens the self-seeds of all, and the server subtracts these masks.
    own = private_mask(secret_of(site.unmask([1, 2, 3], []) for site in sites), _SIZE + 1)
    left = masked[_VICTIM] - own + pair_mask(colluder.mask_key, keys[_VICTIM][0], _SIZE + 1)
    # The victim subtracted the last mask; the first word holds its weight, which Flower sends in the clear as well.
    first = int((weight_of(victim.examples) - left[0]) % MODULUS)
    # Where to search when not everywhere: the block that holds the true seed, which the test knows.
    begin = index_of(folded(pair_key(honest.mask_key, keys[_VICTIM][0]))) // candidates * candidates
    for seed_of_mask in search([first], begin, begin + candidates):
        words = (left + mask_from_seed(seed_of_mask, _SIZE + 1)) % MODULUS
        if words[1:].max() <= LEVELS:
            return Recovery(values_of(words, victim.examples), victim.update)
    raise ValueError(f"none of {candidates} seeds explains the masked vector")


def recover_by_both(seed: int) -> Recovery:
    """Four clients, threshold three, none colludes."""
    victim, *others = sites = _sites(seed, 4)
    keys, masked = run_until_masked(sites, threshold=3)
    answers = [site.unmask([1, 2, 3, 4], [_VICTIM]) for site in others]
    self_seed = secret_of(answer[:4] for answer in answers)
    mask_key = secret_of(answer[4:] for answer in answers)
    return _opened(victim, masked[_VICTIM], self_seed, mask_key, [keys[site.node][0] for site in others])


def recover_by_invention(seed: int) -> Recovery:
    """One client, threshold three; its three neighbours do not exist."""
    (victim,) = _sites(seed, 1)
    invented = {node: (key_pair(), key_pair()) for node in (2, 3, 4)}
    public = {node: (for_masks.public, for_shares.public) for node, (for_masks, for_shares) in invented.items()}
    keys = {_VICTIM: victim.setup(4, threshold=3), **public}
    channels = {node: pair_key(pair[1].secret, keys[_VICTIM][1]) for node, pair in invented.items()}
    shares = [opened_share(channels[node], sealed) for node, sealed in victim.share_keys(keys).items()]
    inbox = {node: encrypted_share(channels[node], node, _VICTIM) for node in invented}
    words, _ = victim.masked(inbox)
    self_seed = secret_of([(_VICTIM, each)] for each, _ in shares)
    mask_key = secret_of([(_VICTIM, each)] for _, each in shares)
    return _opened(victim, words, self_seed, mask_key, [keys[node][0] for node in invented])


def _opened(victim: FlowerSite, words: Words, seed: bytes, key: bytes, neighbours: Sequence[bytes]) -> Recovery:
    """The victim subtracted the mask that it shares with each of its neighbours, as its number is the lowest."""
    clear = words - private_mask(seed, words.size) + sum(pair_mask(key, each, words.size) for each in neighbours)
    return Recovery(values_of(clear, victim.examples), victim.update)


def _sites(seed: int, number: int) -> list[FlowerSite]:
    rng = np.random.default_rng(seed)
    return [FlowerSite(node, rng.normal(0, 0.05, _SIZE), _EXAMPLES) for node in range(1, number + 1)]
