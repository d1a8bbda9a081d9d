"""Rounds under secure aggregation: exact sums, whoever falls silent when, and what comes of those who lie."""

import itertools
import os

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from secure_fl.app.identity import open_roster
from secure_fl.app.secagg import site, wire
from secure_fl.errors import FederationError, QuorumError
from secure_fl.secagg.messages import Agreement, Opening
from tests.app.secagg.conftest import IMAGES, index_of, kind_of, update_of
from tests.secagg.lies import Liar

TRIPS = (wire.ADVERTISE, wire.SHARE, wire.MASKED, wire.AGREE, wire.OPEN)


def silent(sites, kind, attempts=1):
    """These sites do not hear orders of this kind, the first `attempts` times each."""
    left = {index: attempts for index in sites}

    def fault(message):
        index = index_of(message)
        if kind_of(message) == kind and left.get(index, 0) > 0:
            left[index] -= 1
            return None
        return message

    return fault


def names(indexes):
    return tuple(f"site-{index}" for index in indexes)


@pytest.mark.parametrize("settings", [{}, {"sites": 10}, {"secagg_bits": "16"}])
def test_the_step_is_the_clear_ring_sum_decoded_to_the_bit_and_the_mean_of_the_updates(federation, settings):
    made = federation(**settings)
    gathered = made.round()
    sites = range(made.config.sites)
    np.testing.assert_array_equal(gathered.step, made.clear_mean(list(sites)))
    weights = np.array([IMAGES[index] for index in sites]) / sum(IMAGES[index] for index in sites)
    mean = sum(w * update_of(index, 1).astype(np.float64) for w, index in zip(weights, sites, strict=True))
    off = np.linalg.norm(gathered.step - mean) / np.linalg.norm(mean)
    assert off < (2e-5 if made.config.secagg_bits == "32" else 2e-2)
    assert gathered.accepted == names(sites)


def test_each_later_round_makes_four_trips_because_adverts_ride_on_openings(federation):
    made = federation()
    for number in (1, 2, 3):
        gathered = made.round(number)
        np.testing.assert_array_equal(gathered.step, made.clear_mean([0, 1, 2, 3, 4], number))
    kinds = [kind for kind, _ in itertools.groupby(map(kind_of, made.orders))]
    assert kinds == [*TRIPS, *TRIPS[1:], *TRIPS[1:]]


def test_what_sites_measured_is_told_as_averages_over_all_of_them(federation):
    gathered = federation().round()
    total = sum(IMAGES[:5])
    told = gathered.facts["secagg"]
    assert gathered.train_loss == pytest.approx(sum(IMAGES[i] * (0.5 + i) for i in range(5)) / total, abs=1e-6)
    assert told["validation_accuracy"] == pytest.approx(2 / 5) and told["validation_loss"] == pytest.approx(0.25)
    assert told["clipped"] == 0


def test_an_update_longer_than_the_clip_is_scaled_down_and_counted_without_a_name(federation):
    made = federation(secagg_clip=0.5)
    gathered = made.round()
    longer = [index for index in range(5) if np.linalg.norm(update_of(index, 1)) > 0.5]
    assert gathered.facts["secagg"]["clipped"] == len(longer) == 5
    np.testing.assert_array_equal(gathered.step, made.clear_mean(list(range(5))))


def test_counts_that_nobody_declared_stay_hidden_and_still_weigh(federation):
    made = federation(declared=False)
    weights = np.array(IMAGES[:5]) / sum(IMAGES[:5])
    mean = sum(w * update_of(index, 1) for w, index in zip(weights, range(5), strict=True))
    # The encoding leaves room for `sample-cap` images a site: steps of 1 / (scale · total weight) in each coordinate.
    assert np.linalg.norm(made.round().step - mean) / np.linalg.norm(mean) < 1e-3
    assert all(each["weight"] is None for each in made.events.of("reply-accepted"))


@pytest.mark.parametrize("trip", TRIPS)
@pytest.mark.parametrize("who", range(5))
def test_any_site_may_fall_silent_at_any_trip(federation, trip, who):
    made = federation()
    made.fault = silent([who], trip)
    gathered = made.round()
    survivors = [i for i in range(5) if i != who] if TRIPS.index(trip) < 3 else list(range(5))
    np.testing.assert_array_equal(gathered.step, made.clear_mean(survivors))
    assert gathered.accepted == names(survivors)
    assert made.events.of("reply-missing") == [{"round": 1, "site": f"site-{who}", "reason": "timeout"}]
    assert gathered.facts["secagg"]["attempt"] == 1


def test_ten_sites_bear_three_that_fall_silent_one_at_a_time(federation):
    made = federation(sites=10)
    faults = [silent([2], wire.SHARE), silent([5], wire.MASKED), silent([9], wire.AGREE)]

    def fault(message):
        return message if all(each(message) is message for each in faults) else None

    made.fault = fault
    np.testing.assert_array_equal(made.round().step, made.clear_mean([0, 1, 3, 4, 6, 7, 8, 9]))


@pytest.mark.parametrize("trip", TRIPS[:4])
def test_below_the_quorum_the_round_is_tried_again_with_fresh_keys_and_no_second_training(federation, trip):
    made = federation()
    made.fault = silent([1, 3], trip)
    with pytest.raises(QuorumError, match="usable replies, 4 are needed"):
        made.round()  # the two are busy: they owe an answer that was lost
    slots = made.events.of("secagg-slot")
    assert [each["attempt"] for each in slots] == [1, 2]
    assert all(each["outcome"] == "abandoned" for each in slots)
    assert all(count <= 1 for count in (made.trained.count(pair) for pair in made.trained))
    assert set(slots[0]["adverts"].values()).isdisjoint(slots[1]["adverts"].values())
    assert not any(made.site(index).holds_secrets for index in (0, 2, 4))


def test_a_second_attempt_succeeds_with_those_who_came_back(federation):
    made = federation()
    broken = {1, 3}

    def fault(message):
        if kind_of(message) == wire.AGREE and index_of(message) in broken:
            broken.discard(index_of(message))
            message.content["secagg"] = ConfigRecord({"slot": b"rubbish"})
        return message

    made.fault = fault
    gathered = made.round()
    np.testing.assert_array_equal(gathered.step, made.clear_mean([0, 1, 2, 3, 4]))
    assert gathered.facts["secagg"]["attempt"] == 2
    assert sorted(made.trained) == [(index, 1) for index in range(5)]
    assert {each["reason"] for each in made.events.of("reply-rejected")} == {"site-error"}


def test_a_round_whose_openings_are_lost_is_void_and_the_next_one_works(federation):
    made = federation(sites=10)
    made.fault = silent([0, 1, 2, 3], wire.OPEN)
    gathered = made.round(1)
    assert not gathered.step.any() and gathered.accepted == ()
    assert "6 sites are left" in gathered.facts["secagg"]["void"]
    assert [each["outcome"] for each in made.events.of("secagg-slot")] == ["abandoned"]
    made.fault = lambda message: message
    made.start(lives=1)  # they are back
    np.testing.assert_array_equal(made.round(2).step, made.clear_mean(list(range(10)), 2))


def test_a_site_whose_secrets_do_not_open_is_named_and_barred_and_the_run_goes_on(federation, monkeypatch):
    def client(index, *arguments, **named):
        made = Liar(index, *arguments, **named)
        made.false_secret = index == 2
        return made

    monkeypatch.setattr(site, "Client", client)
    made = federation()
    gathered = made.round(1)
    assert not gathered.step.any() and "site 2" in gathered.facts["secagg"]["void"]
    assert [member.name for member in made.gathering.free_members()] == list(names([0, 1, 3, 4]))
    gathered = made.round(2)  # at its first attempt, with new keys: those advertised ahead were dropped
    np.testing.assert_array_equal(gathered.step, made.clear_mean([0, 1, 3, 4], 2))
    assert gathered.facts["secagg"]["attempt"] == 1


def replaced(answer: Message, **fields: bytes) -> Message:
    """The same answer, saying something else."""
    said = {**answer.content["secagg"], **fields}
    answer.content["secagg"] = ConfigRecord(said)
    return answer


LIES = {
    wire.ADVERTISE: ("advert", "SECAGG_FORGED_ADVERT", 100),
    wire.SHARE: ("sealed", "SECAGG_FORGED_SHARES", 100),
    wire.AGREE: ("agreement", "SECAGG_FORGED_AGREEMENT", 50),
    wire.OPEN: ("opening", "SECAGG_FORGED_OPENING", 30),
}


@pytest.mark.parametrize("trip", LIES)
def test_a_lying_site_is_named_and_the_round_goes_on(federation, trip):
    name, code, place = LIES[trip]
    made = federation()

    def tamper(order, answer):
        if kind_of(order) == trip and index_of(order) == 2:
            bits = bytearray(answer.content["secagg"][name])
            bits[place] ^= 1
            return replaced(answer, **{name: bytes(bits)})
        return answer

    made.tamper = tamper
    gathered = made.round()
    (rejected,) = made.events.of("reply-rejected")
    assert (rejected["site"], rejected["reason"]) == ("site-2", code)
    survivors = [0, 1, 3, 4] if TRIPS.index(trip) < 3 else [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(gathered.step, made.clear_mean(survivors))


def test_a_holder_that_signs_false_shares_is_named_and_others_shares_are_used(federation):
    made, agreed = federation(sites=6), {}

    def tamper(order, answer):
        if kind_of(order) == wire.AGREE:
            agreed[index_of(order)] = Agreement.from_bytes(answer.content["secagg"]["agreement"]).survivors
        if kind_of(order) != wire.OPEN or index_of(order) != 4:
            return answer
        site = made.site(4)
        true = Opening.from_bytes(answer.content["secagg"]["opening"])
        false = {owner: bytes([share[0], share[1] ^ 1]) + share[2:] for owner, share in true.self_shares.items()}
        digest = agreed[4]
        statement = Opening.statement(digest, 4, false, true.key_shares, true.disputed)
        return replaced(answer, opening=Opening(false, true.key_shares, true.disputed, site.sign(statement)).to_bytes())

    made.tamper = tamper
    gathered = made.round()
    np.testing.assert_array_equal(gathered.step, made.clear_mean([0, 1, 2, 3, 4, 5]))
    (group,) = gathered.facts["secagg"]["groups"]
    assert list(group["liars"]) == ["site-4"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"y": np.zeros(300, np.uint32)}, "SECAGG_WRONG_VECTOR"),
        ({"y": np.zeros(372, np.float32)}, "SECAGG_WRONG_VECTOR"),
        ({"z": np.zeros(372, np.uint32)}, "SECAGG_MALFORMED"),
    ],
)
def test_a_vector_of_another_kind_is_refused(federation, content, reason):
    made = federation()

    def tamper(order, answer):
        if kind_of(order) == wire.MASKED and index_of(order) == 0:
            record = ArrayRecord({name: Array(array) for name, array in content.items()})
            return Message(RecordDict({"masked": record}), reply_to=order)
        return answer

    made.tamper = tamper
    assert made.round().accepted == names([1, 2, 3, 4])
    assert [each["reason"] for each in made.events.of("reply-rejected")] == [reason]


def test_a_coordinator_that_crashed_after_the_opening_can_repeat_the_round(federation):
    made = federation()
    first = made.round()
    made.start(lives=2)
    again = made.round()
    np.testing.assert_array_equal(first.step, again.step)
    assert again.facts["secagg"]["attempt"] == 3


def test_one_that_wants_a_second_sum_of_the_same_updates_gets_none(federation):
    made = federation()
    made.round()
    made.start(lives=2)
    made.fault = silent([4], wire.SHARE, attempts=9)
    gathered = made.round()
    assert not gathered.step.any() and "void" in gathered.facts["secagg"]
    refused = {(each["site"], each["detail"][:18]) for each in made.events.of("reply-rejected")}
    assert {(name, "SECAGG_SLOT_REUSED") for name in names(range(4))} <= refused
    np.testing.assert_array_equal(made.round(2).step, made.clear_mean([0, 1, 2, 3], 2))


def test_events_of_a_round_come_after_its_announcement(federation):
    made = federation()
    made.fault = silent([1], wire.SHARE)
    made.round()
    kinds = [kind for kind, _ in made.events]
    assert kinds[0] == "round-started" and "reply-missing" in kinds


def test_after_every_outcome_no_site_holds_a_secret(federation):
    made = federation(sites=10)
    made.round(1)
    assert made.gathering.free_members() and made.site(0).holds_secrets  # keys for round 2 are advertised
    made.gathering.conclude(made.order(1), complete=False)
    assert not any(made.site(index).holds_secrets for index in range(10))
    made.round(9)  # the last: no keys ahead
    assert not any(made.site(index).holds_secrets for index in range(10))


def test_no_secret_is_in_any_message_or_event(federation, monkeypatch):
    drawn = []
    real = os.urandom

    def remembering(count):
        drawn.append(real(count))
        return drawn[-1]

    monkeypatch.setattr(os, "urandom", remembering)
    made = federation()
    made.fault = silent([1], wire.MASKED)
    made.round(1)
    made.round(2)
    monkeypatch.undo()
    secrets = {each for each in drawn if len(each) == 32}
    said = b"".join(
        record.deflate() if isinstance(record, ConfigRecord) else b"".join(array.data for array in record.values())
        for message in (*made.orders, *made.answers)
        for record in message.content.values()
        if isinstance(record, ConfigRecord) or hasattr(record, "values")
    )
    written = repr(list(made.events)).encode()
    identity = [made.site(index).sign.__self__._key.private_bytes_raw() for index in range(5)]
    assert len(secrets) >= 2 * 5 * 3
    for secret in (*secrets, *identity):
        assert secret not in said and secret.hex().encode() not in written


def test_a_roster_without_identities_cannot_be_protected(federation):
    made = federation()
    made.roster = open_roster(IMAGES[:5])
    with pytest.raises(FederationError, match="identity keys"):
        made.start(lives=1)
