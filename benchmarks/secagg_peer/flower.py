"""Flower 1.41's SecAgg+ as its clients run it: the stage functions of `secaggplus_mod`, with the checks before them.

`FlowerSite` is one client: each of its methods is one message. `run_until_masked` is what an honest server does with
several; what a dishonest one does is written in `attacks`. The other functions are the arithmetic that any server has.
Settings are Flower's defaults: 2^22 levels within ±8, masks modulo 2^32, weights up to 1000.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLIP",
    "LEVELS",
    "MODULUS",
    "FlowerSite",
    "KeyPair",
    "Words",
    "encrypted_share",
    "key_pair",
    "mask_from_seed",
    "opened_share",
    "pair_key",
    "pair_mask",
    "private_mask",
    "run_until_masked",
    "secret_of",
    "values_of",
    "weight_of",
]

CLIP, LEVELS, MODULUS = 8.0, 1 << 22, 1 << 32
_MAX_WEIGHT = 1000.0
_MOD = "flwr.client.mod.secure_aggregation.secaggplus_mod"

Words = NDArray[np.int64]


@dataclass(frozen=True)
class KeyPair:
    """P-384 keys as Flower writes them, in PEM."""

    secret: bytes
    public: bytes


class FlowerSite:
    """A client. Each method is one message of the server's, checked and answered as Flower does."""

    def __init__(self, node: int, update: NDArray[np.float64], examples: int) -> None:
        self._mod: Any = importlib.import_module(_MOD)
        self._state = self._mod.SecAggPlusState()
        self._state.nid = node
        self.node, self.update, self.examples = node, update, examples

    @property
    def mask_key(self) -> bytes:
        """Its secret mask key, which it would give to a server that it colludes with."""
        return bytes(self._state.sk1)

    def setup(self, sites: int, threshold: int) -> tuple[bytes, bytes]:
        """Its public keys: for masks, and for shares."""
        settings = {
            "sample_num": sites,
            "share_num": sites,
            "threshold": threshold,
            "clipping_range": CLIP,
            "target_range": LEVELS,
            "mod_range": MODULUS,
            "max_weight": _MAX_WEIGHT,
        }
        answer = self._answer("setup", settings)
        return answer["pk1"], answer["pk2"]

    def share_keys(self, keys: Mapping[int, tuple[bytes, bytes]]) -> dict[int, bytes]:
        """Its encrypted shares by receiver, given everybody's public keys."""
        answer = self._answer("share_keys", {str(node): list(pair) for node, pair in keys.items()})
        return dict(zip(answer["dsts"], answer["ctxts"], strict=True))

    def masked(self, inbox: Mapping[int, bytes]) -> tuple[Words, int]:
        """Its masked vector, the quantised weight first, and its number of examples: Flower sends both."""
        from flwr.common import bytes_to_ndarray, ndarrays_to_parameters

        configs = {"srcs": list(inbox), "ctxts": list(inbox.values())}
        update = ndarrays_to_parameters([self.update])
        answer = self._answer("collect_masked_vectors", configs, self.examples, update)
        return np.concatenate([bytes_to_ndarray(each).ravel() for each in answer["masked_params"]]), self.examples

    def unmask(self, active: Sequence[int], dead: Sequence[int]) -> list[tuple[int, bytes]]:
        """Shares with their owners: of the seed of each active site, then of the key of each dead one."""
        answer = self._answer("unmask", {"active_nids": list(active), "dead_nids": list(dead)})
        return list(zip(answer["nids"], answer["shares"], strict=True))

    def _answer(self, stage: str, values: Mapping[str, Any], *data: Any) -> Any:
        from flwr.app import ConfigRecord

        configs = ConfigRecord({"stage": stage, **values})
        self._mod.check_stage(self._state.current_stage, configs)
        self._state.current_stage = configs.pop("stage")
        self._mod.check_configs(stage, configs)
        return getattr(self._mod, f"_{stage}")(self._state, configs, *data)


def run_until_masked(
    sites: Collection[FlowerSite], *, threshold: int
) -> tuple[dict[int, tuple[bytes, bytes]], dict[int, Words]]:
    """The first three stages with an honest server: public keys and masked vectors by node."""
    keys = {site.node: site.setup(len(sites), threshold) for site in sites}
    sent = {site.node: site.share_keys(keys) for site in sites}
    inboxes = {node: {sender: sent[sender][node] for sender in sent if sender != node} for node in sent}
    return keys, {site.node: site.masked(inboxes[site.node])[0] for site in sites}


def key_pair() -> KeyPair:
    """A new pair."""
    from flwr.supercore.primitives import asymmetric

    secret, public = asymmetric.generate_key_pairs()
    return KeyPair(asymmetric.private_key_to_bytes(secret), asymmetric.public_key_to_bytes(public))


def pair_key(secret: bytes, public: bytes) -> bytes:
    """The key of the owners of these two keys: 32 bytes in base64."""
    from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
    from flwr.supercore.primitives import asymmetric

    return generate_shared_key(asymmetric.bytes_to_private_key(secret), asymmetric.bytes_to_public_key(public))


def pair_mask(secret: bytes, public: bytes, size: int) -> Words:
    """The mask between the owners of these two keys, `size` words with that of the weight."""
    return private_mask(pair_key(secret, public), size)


def private_mask(key: bytes, size: int) -> Words:
    """The mask of a key or self-seed, `size` words with that of the weight."""
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    return np.concatenate(pseudo_rand_gen(key, MODULUS, [(1,), (size - 1,)]))


def mask_from_seed(seed: int, size: int) -> Words:
    """The mask of a 32-bit seed: what `private_mask` comes to once it has folded its key."""
    return private_mask(seed.to_bytes(4, "little"), size)


def encrypted_share(channel: bytes, sender: int, receiver: int) -> bytes:
    """A message with shares of nothing, as a client would send it."""
    from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt
    from flwr.common.secure_aggregation.secaggplus_utils import share_keys_plaintext_concat

    return encrypt(channel, share_keys_plaintext_concat(sender, receiver, b"", b""))


def opened_share(channel: bytes, sealed: bytes) -> tuple[bytes, bytes]:
    """A client's share of its self-seed and of its mask key."""
    from flwr.common.secure_aggregation.crypto.symmetric_encryption import decrypt
    from flwr.common.secure_aggregation.secaggplus_utils import share_keys_plaintext_separate

    _, _, of_seed, of_key = share_keys_plaintext_separate(decrypt(channel, sealed))
    return of_seed, of_key


def secret_of(answers: Iterable[Sequence[tuple[int, bytes]]], owner: int = 1) -> bytes:
    """The owner's secret, from the shares that several sites answered with."""
    from flwr.common.secure_aggregation.crypto.shamir import combine_shares

    return combine_shares([share for answer in answers for whose, share in answer if whose == owner])


def weight_of(examples: int) -> int:
    """The quantised weight of a site: the first word of its vector."""
    return round(examples / _MAX_WEIGHT * LEVELS)


def values_of(words: Words, examples: int) -> NDArray[np.float64]:
    """The update behind one site's words without masks, the weight first."""
    levels = (words[1:] % MODULUS).astype(np.float64)
    return np.asarray((levels * (2 * CLIP / LEVELS) - CLIP) * (LEVELS / weight_of(examples)))
