"""What a site refuses, whatever the coordinator says; each refusal drops all that it held for the sum."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Context

from secure_fl.app.messages import Order
from secure_fl.app.secagg import handlers, wire
from secure_fl.app.secagg.layout import Layout, digest_of
from secure_fl.app.secagg.site import Trained
from secure_fl.config import RunConfig
from secure_fl.errors import FederationError
from secure_fl.secagg.errors import (
    NotOnRoster,
    OtherTerms,
    OutOfRange,
    SlotMismatch,
    TooFewMembers,
    WrongOrder,
    WrongVector,
)
from secure_fl.secagg.messages import SealedForMe
from secure_fl.secagg.server import Server
from secure_fl.secagg.terms import Slot, Terms
from tests.app.secagg.conftest import IMAGES, D, tally_of, update_of

SLOT = Slot("r1", 1, 1, 0)


class Sum:
    """An honest coordinator's part, step by step, so that a test can deviate."""

    def __init__(self, made, config: RunConfig | None = None, **changes) -> None:
        self.made, self.order = made, made.order(1)
        self.config = config or made.config
        declared = tuple(changes.pop("declared", [entry.samples or 0 for entry in made.roster.entries]))
        members = tuple(range(self.config.sites))
        layout = Layout.of(
            self.config, size=D, members=len(members), max_weight=60, model_sha256=self.order.model_sha256
        )
        self.terms = Terms(
            **{
                "slot": SLOT,
                "members": members,
                "threshold": 4,
                "neighbours": 4,
                "words": layout.words,
                "ring_bits": 32,
                "clip": self.config.secagg_clip,
                "max_weight": 60,
                "model_sha256": self.order.model_sha256,
                "settings_sha256": digest_of(self.config, declared, b""),
                **changes,
            }
        )
        self.server = Server(self.terms, {e.index: bytes.fromhex(e.identity_key) for e in made.roster.entries})
        self.sites = [made.site(index) for index in range(5)]
        for index, site in enumerate(self.sites):
            self.server.take_advert(index, site.advertise(SLOT))
        self.share_order = wire.ShareOrder(self.terms, self.server.close_adverts(), self.config, declared)

    def share(self) -> None:
        for index, site in enumerate(self.sites):
            self.server.take_sealed(index, site.share(self.share_order))
        self.inboxes = {index: SealedForMe.inbox(rows) for index, rows in self.server.close_sealed().items()}

    def masked_order(self, index: int = 0, order: Order | None = None) -> wire.MaskedOrder:
        return wire.MaskedOrder(order or self.order, SLOT, self.inboxes[index])

    def mask(self, index: int = 0, order: Order | None = None):
        return self.sites[index].mask(self.masked_order(index, order), trained_by(index))


def trained_by(index: int):
    return lambda order: Trained(update_of(index, order.round), tally_of(index))


def refuses(site, error, call, match=None):
    with pytest.raises(error, match=match):
        call()
    assert not (site._client is not None and site._client.holds_secrets)


def context(**node) -> Context:
    return Context(1, 1, {"partition-id": 0, **node}, None, {})


@pytest.mark.parametrize("missing", ["roster", "identity-key"])
def test_a_site_without_roster_or_identity_takes_no_part_and_says_so_in_one_line(federation, missing):
    node = {name: value for name, value in federation().node_configs[0].items() if name != missing}
    with pytest.raises(FederationError, match="cannot take part in secure aggregation") as refusal:
        handlers.site_of(context(**node))
    assert f"names no {missing}" in refusal.value.why and "\n" not in str(refusal.value)


def test_a_roster_that_lists_another_key_for_this_site_is_refused(federation):
    node = federation().node_configs
    with pytest.raises(FederationError, match="does not list this site's identity key"):
        handlers.site_of(context(**{**node[0], "identity-key": node[1]["identity-key"]}))


def test_settings_that_the_terms_do_not_name_are_refused(federation):
    made = Sum(federation())
    other = replace(made.share_order, config=made.config.changed({"lr": 0.123}))
    refuses(made.sites[0], OtherTerms, lambda: made.sites[0].share(other), "settings")


def test_settings_without_secure_aggregation_are_refused(federation):
    base = federation()
    made = Sum(base, base.config.changed({"secagg": "none"}))
    refuses(made.sites[0], OtherTerms, lambda: made.sites[0].share(made.share_order), "do not ask for this sum")


def test_members_that_are_not_the_rosters_first_sites_are_refused(federation):
    base = federation()
    made = Sum(base, base.config.changed({"sites": 6}), members=(0, 1, 2, 3, 4))
    refuses(made.sites[0], NotOnRoster, lambda: made.sites[0].share(made.share_order), "not the sites that our roster")


def test_fewer_members_than_the_site_itself_demands_are_refused(federation):
    base = federation()
    base.node_configs[0]["secagg-fewest"] = 6
    made = Sum(base)
    refuses(made.sites[0], TooFewMembers, lambda: made.sites[0].share(made.share_order))


def test_another_model_than_the_one_that_all_were_promised_is_refused_before_training(federation):
    made = Sum(federation())
    made.share()
    other = replace(made.order, model=np.ones(D, np.float32))
    refuses(made.sites[0], OtherTerms, lambda: made.mask(order=other), "model")


def test_other_settings_with_the_model_than_with_the_terms_are_refused(federation):
    made = Sum(federation())
    made.share()
    other = replace(made.order, config=made.config.changed({"local-epochs": 7}))
    refuses(made.sites[0], OtherTerms, lambda: made.mask(order=other))


def test_an_order_for_another_round_is_refused(federation):
    made = Sum(federation())
    made.share()
    refuses(made.sites[0], SlotMismatch, lambda: made.mask(order=replace(made.order, round=2)))
    later = replace(made.masked_order(1), slot=replace(SLOT, attempt=2))
    refuses(made.sites[1], SlotMismatch, lambda: made.sites[1].mask(later, trained_by(1)))


def test_a_weight_that_is_not_ours_is_refused(federation):
    counts = [1, 1, 1, 60, 1]
    made = Sum(federation(), declared=counts)
    made.share()
    refuses(made.sites[0], OutOfRange, lambda: made.mask(0), f"ours is {IMAGES[0]}")
    assert made.mask(3)[0].dtype == np.uint32  # its own count is 60, as declared


def test_terms_for_a_vector_of_another_length_are_refused(federation):
    made = Sum(federation(), words=D)
    made.share()
    refuses(made.sites[0], WrongVector, lambda: made.mask())


def test_orders_out_of_turn_are_refused(federation):
    made = Sum(federation())
    site = made.sites[0]
    refuses(site, WrongOrder, lambda: site.agree(SLOT, [0, 1, 2, 3]))
    refuses(site, WrongOrder, lambda: site.share(made.share_order))
    made = Sum(made.made)
    made.share()
    refuses(site, WrongOrder, lambda: site.open(wire.OpenOrder(SLOT)), "before the survivors are agreed on")


def test_a_site_that_was_told_other_terms_than_its_peers_does_not_take_their_shares(federation):
    made = Sum(federation())
    other = replace(made.share_order, terms=replace(made.terms, clip=7.0))
    sealed = {index: site.share(other if index == 0 else made.share_order) for index, site in enumerate(made.sites)}
    made.inboxes = [SealedForMe.inbox({j: sealed[j].inbox([0])[0] for j in range(1, 5)})]
    refuses(made.sites[0], OtherTerms, lambda: made.mask(0))


def test_a_site_that_takes_part_in_sums_only_refuses_a_run_without(federation):
    node = federation().node_configs[0]
    with pytest.raises(FederationError, match="under secure aggregation only"):
        handlers.refuse_unprotected(node, RunConfig())
    handlers.refuse_unprotected({}, RunConfig())
    handlers.refuse_unprotected(node, RunConfig(secagg="full"))


def test_only_a_count_that_the_roster_declares_is_told_when_joining(federation):
    made = federation()
    assert handlers.announced_samples(context(**made.node_configs[0])) == 0


def test_rejoining_drops_every_secret(federation):
    made = Sum(federation())
    made.share()
    made.mask(0)
    assert made.sites[0].holds_secrets
    handlers.rejoin(context(**made.made.node_configs[0]))
    assert not made.sites[0].holds_secrets
