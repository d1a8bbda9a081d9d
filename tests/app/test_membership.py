import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from secure_fl.app.membership import Membership
from secure_fl.config import RunConfig
from secure_fl.errors import QuorumError
from tests.app.conftest import Events, ScriptedGrid, Time, failing, introduce


@pytest.fixture
def membership(grid: ScriptedGrid, events: Events, roster, time: Time) -> Membership:
    return Membership(grid, roster, RunConfig(), run="r1", events=events, clock=time.clock, sleep=time.sleep)


def names(membership: Membership) -> list[str]:
    membership.refresh()
    return [member.name for member in membership.present()]


def test_sites_that_sign_the_nonce_are_present_in_roster_order(membership, grid, events):
    grid.handlers = {7: introduce(2), 8: introduce(0)}
    assert names(membership) == ["site-0", "site-2"]
    assert [e["site"] for e in events.of("site-joined")] == ["site-2", "site-0"]


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (introduce(1, key=0), "signature does not fit"),
        (introduce(1, nonce="an older nonce"), "signature does not fit"),
        (introduce(1, signature=b"short"), "signature does not fit"),
        (introduce(1, index=2), "claims index 2"),
        (introduce(1, site="site-9"), "not in the roster"),
        (introduce(1, samples="many"), "wrong type"),
        (introduce(1, index=True), "wrong type"),
        (introduce(1, site="x" * 65), "wrong type"),
        (failing(2, "DATA_INVALID: no images"), "no images"),
        (lambda message: Message(RecordDict(), reply_to=message), "without"),
        (lambda message: Message(RecordDict({"claim": ConfigRecord({"site": "site-1"})}), reply_to=message), "without"),
    ],
)
def test_a_site_that_does_not_prove_who_it_is_stays_out_with_the_reason(membership, grid, events, handler, reason):
    grid.handlers = {7: handler}
    assert names(membership) == []
    assert reason in events.of("site-refused")[0]["reason"]
    names(membership)
    assert len(events.of("site-refused")) == 1, "a refused node is asked and named once"


def test_two_nodes_cannot_speak_for_one_site(membership, grid, events):
    grid.handlers = {7: introduce(1)}
    names(membership)
    grid.handlers[8] = introduce(1)
    assert names(membership) == ["site-1"]
    assert "another node" in events.of("site-refused")[0]["reason"]


def test_a_site_that_leaves_is_gone_and_may_return(membership, grid, events):
    grid.handlers = {7: introduce(1)}
    assert names(membership) == ["site-1"]
    grid.offline = {7}
    assert names(membership) == [] and events.of("site-left") == [{"site": "site-1"}]
    grid.offline = set()
    assert names(membership) == ["site-1"] and len(events.of("site-joined")) == 2


def test_a_restarted_site_is_asked_again_even_if_it_was_never_seen_offline(membership, grid, events):
    class Node:
        node_id, last_activated_at = 7, "10:00"

    grid.handlers = {7: introduce(1)}
    grid.get_nodes = lambda: [Node]
    before = (membership.refresh(), membership.present()[0])[1]
    Node.last_activated_at = "10:05"
    membership.refresh()
    after = membership.present()[0]
    assert before != after and before.name == after.name
    assert [kind for kind, _ in events] == ["site-joined", "site-left", "site-joined"]


def test_a_slow_node_is_asked_once_and_again_only_when_it_connects_anew(membership, grid, events):
    class Node:
        node_id, last_activated_at = 7, "10:00"

    grid.handlers = {7: lambda message: None}
    grid.get_nodes = lambda: [Node]
    for _ in range(3):
        membership.refresh()
    assert len(grid.sent) == 1
    Node.last_activated_at = "10:05"
    membership.refresh()
    assert len(grid.sent) == 2
    # The answer of the former connection comes at last: it is nobody's any more.
    grid.deliver(grid.sent[0], introduce(1)(grid.sent[0]))
    membership.refresh()
    assert membership.present() == [] and len(events) == 0
    grid.deliver(grid.sent[1], introduce(1)(grid.sent[1]))
    membership.refresh()
    assert [member.name for member in membership.present()] == ["site-1"]


def test_a_refused_node_that_connects_anew_has_another_chance(membership, grid, events):
    class Node:
        node_id, last_activated_at = 7, "10:00"

    grid.handlers = {7: failing(2, "DATA_INVALID: no images")}
    grid.get_nodes = lambda: [Node]
    membership.refresh()
    grid.handlers = {7: introduce(1)}
    assert names(membership) == []
    Node.last_activated_at = "10:05"
    assert names(membership) == ["site-1"] and len(events.of("site-refused")) == 1


def test_waiting_ends_with_the_names_of_those_who_came(membership, grid, time):
    grid.handlers = {7: introduce(1)}
    with pytest.raises(QuorumError, match=r"only 1 of 2 needed sites joined within 5 s") as caught:
        membership.wait_for(2, timeout_s=5)
    assert caught.value.why == "present: site-1" and time.now == pytest.approx(5, abs=0.3)


def test_waiting_ends_at_once_when_asked_to_stop(membership, time):
    membership.wait_for(2, timeout_s=5, stop=lambda: True)
    assert time.now == 0
