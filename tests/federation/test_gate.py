"""The gates as ASGI applications; `test_refusals.py` meets the same rules through real TLS."""

import asyncio
import datetime
import json
import re
from base64 import b64encode

import pytest

from secure_fl.federation.gate import (
    CONTROL_HEADER,
    GONE,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    InnerGate,
    Refusal,
    SiteGate,
    node_key_pem,
)
from secure_fl.federation.parcels import AWAIT, FLEET_ROUTE, Call, pack
from secure_fl.federation.pki import FederationKeys, provision


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> FederationKeys:
    return provision(tmp_path_factory.mktemp("pki") / "federation", sites=2, hosts=[])


class Flower:
    """The application behind the gate: answers with a fixed status and remembers that it was reached."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.reached, self.messages = status, [], []

    async def __call__(self, scope, receive, send) -> None:
        self.reached.append(scope["path"])
        self.messages = [await receive(), await receive()]
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


def ask(
    gate,
    path: str,
    headers: dict[bytes, bytes] | None = None,
    certificate: str | None = None,
    *,
    body: bytes | None = None,
) -> tuple[int, bytes]:
    """Status and body of the answer. Without a body of its own, one of two pieces is sent."""
    sent = []

    async def send(message) -> None:
        sent.append(message)

    pieces = [b"first ", b"last"] if body is None else [body]
    scope = {
        "type": "http",
        "path": path,
        "headers": list({b"content-length": str(sum(map(len, pieces))).encode(), **(headers or {})}.items()),
        "client": ("192.0.2.7", 4711),
        "state": {"peer_certificate": certificate},
    }
    arriving = [{"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces]
    arriving.append({"type": "http.disconnect"})

    async def receive():
        return arriving.pop(0)

    asyncio.run(gate(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def site_gate(keys: FederationKeys, flower: Flower, *, allow_stock: bool = False) -> tuple[SiteGate, list[Refusal]]:
    heard: list[Refusal] = []
    return SiteGate(flower, keys.roster, allow_stock=allow_stock, on_refusal=heard.append), heard


def node_header(entry) -> dict[bytes, bytes]:
    return {b"flwr-public-key": b64encode(node_key_pem(entry))}


def test_a_site_with_its_own_certificate_and_node_key_reaches_the_fleet_routes(keys):
    flower = Flower()
    gate, heard = site_gate(keys, flower)
    entry = keys.roster.entries[0]
    assert ask(gate, "/v1/fleet/pull-messages", node_header(entry), entry.certificate_sha256)[0] == 200
    assert flower.reached == ["/v1/fleet/pull-messages"] and heard == []


def test_controls_of_the_audit_are_read_and_never_heard(keys):
    flower, heard = Flower(), []
    gate = SiteGate(flower, keys.roster, allow_stock=False, on_refusal=heard.append, control_certificate="c" * 64)
    for path in ("/v1/fleet/push-messages", "/v1/control/start-run", "/health"):
        status, body = ask(gate, path, certificate="c" * 64)
        assert (status, json.loads(body)["error"]) == (403, "a control of the audit")
    assert flower.reached == [] and heard == []


def test_without_an_audit_nobody_passes_for_its_controls(keys):
    gate, heard = site_gate(keys, flower := Flower())
    for certificate in ("", "c" * 64):
        assert ask(gate, "/v1/fleet/push-messages", certificate=certificate)[0] == 403
    assert flower.reached == [] and len(heard) == 2


@pytest.mark.parametrize(
    "path", ["/v1/control/start-run", "/v1/runtime/acquire-task", "/docs", "/openapi.json", "/", "//v1/fleet/x"]
)
def test_no_other_route_is_open_to_sites(keys, path):
    flower = Flower()
    gate, heard = site_gate(keys, flower)
    entry = keys.roster.entries[0]
    status, body = ask(gate, path, node_header(entry), entry.certificate_sha256)
    assert status == 403 and "closed" in json.loads(body)["error"]
    assert flower.reached == [] and heard[0].who == "192.0.2.7"


@pytest.mark.parametrize("path", ["/v1/fleet/register-node", "/v1/fleet/unregister-node"])
def test_a_site_can_neither_register_nor_unregister_itself(keys, path):
    gate, _ = site_gate(keys, flower := Flower())
    entry = keys.roster.entries[0]
    assert ask(gate, path, node_header(entry), entry.certificate_sha256)[0] == 403 and flower.reached == []


def test_a_site_that_uses_another_sites_node_key_is_named(keys):
    gate, heard = site_gate(keys, flower := Flower())
    mine, other = keys.roster.entries
    assert ask(gate, "/v1/fleet/activate-node", node_header(other), mine.certificate_sha256)[0] == 403
    assert flower.reached == [] and heard == [Refusal("site-0", "uses the node key of site-1", 403)]


def test_a_certificate_that_was_taken_off_the_roster_is_refused(keys):
    gate, heard = site_gate(keys, flower := Flower())
    status, _ = ask(gate, "/v1/fleet/activate-node", node_header(keys.roster.entries[0]), "ab" * 32)
    assert status == 403 and flower.reached == [] and "not in the roster" in heard[0].reason


@pytest.mark.parametrize("header", [{}, {b"flwr-public-key": b"!!"}, {b"flwr-public-key": b64encode(b"unknown key")}])
def test_a_node_key_that_is_not_in_the_roster_is_refused(keys, header):
    gate, heard = site_gate(keys, flower := Flower())
    entry = keys.roster.entries[0]
    assert ask(gate, "/v1/fleet/activate-node", header, entry.certificate_sha256)[0] == 403
    assert flower.reached == [] and heard[0] == Refusal("site-0", "node key is not in the roster", 403)


def test_without_a_certificate_only_a_registered_node_key_passes_and_only_if_stock_sites_are_allowed(keys):
    known, unknown = node_header(keys.roster.entries[0]), {b"flwr-public-key": b64encode(b"x")}
    for allow, header, expected in ((False, known, 403), (True, known, 200), (True, unknown, 403)):
        gate, _ = site_gate(keys, Flower(), allow_stock=allow)
        assert ask(gate, "/v1/fleet/activate-node", header)[0] == expected


def test_health_is_open_and_tells_nothing(keys):
    gate, heard = site_gate(keys, Flower())
    assert ask(gate, "/health") == (200, b"ok") and heard == []


@pytest.mark.parametrize(
    ("length", "status"), [(str(MAX_REQUEST_BYTES + 1), 413), ("", 411), ("-1", 411), ("1e9", 411)]
)
def test_a_request_too_large_or_of_unknown_length_never_reaches_flower(keys, length, status):
    gate, heard = site_gate(keys, flower := Flower())
    entry = keys.roster.entries[0]
    headers = {**node_header(entry), b"content-length": length.encode()}
    assert ask(gate, "/v1/fleet/push-object", headers, entry.certificate_sha256)[0] == status
    assert flower.reached == [] and len(heard) == 1


@pytest.mark.parametrize(("status", "reason"), [(401, "signature does not fit"), (412, "not registered")])
def test_a_refusal_by_flower_itself_is_heard_of_by_the_sites_name(keys, status, reason):
    gate, heard = site_gate(keys, Flower(status))
    entry = keys.roster.entries[1]
    assert ask(gate, "/v1/fleet/activate-node", node_header(entry), entry.certificate_sha256)[0] == status
    assert [refusal.who for refusal in heard] == ["site-1"] and reason in heard[0].reason


@pytest.mark.parametrize(
    ("path", "secret", "expected"),
    [
        ("/v1/control/start-run", b"right", 200),
        ("/v1/control/start-run", b"wrong", 403),
        ("/v1/control/start-run", b"", 403),
        ("/v1/runtime/pull-messages", b"", 200),
        ("/health", b"", 200),
        ("/v1/fleet/activate-node", b"right", 403),
        ("/docs", b"right", 403),
    ],
)
def test_the_inner_gate_wants_the_launchers_secret_for_control(path, secret, expected):
    gate = InnerGate(flower := Flower(), control_secret="right")
    assert ask(gate, path, {CONTROL_HEADER.encode(): secret})[0] == expected
    assert bool(flower.reached) is (expected == 200)


def test_flower_gets_a_request_body_in_one_piece_and_then_what_else_comes(keys):
    flower = Flower()
    gate, _ = site_gate(keys, flower)
    entry = keys.roster.entries[0]
    ask(gate, "/v1/fleet/push-object", node_header(entry), entry.certificate_sha256)
    assert flower.messages == [
        {"type": "http.request", "body": b"first last", "more_body": False},
        {"type": "http.disconnect"},
    ]


def test_a_peer_that_leaves_in_the_middle_of_its_request_is_passed_on_as_such(keys):
    flower = Flower()
    gate = InnerGate(flower, control_secret="s")
    arriving = [{"type": "http.request", "body": b"half", "more_body": True}] + [{"type": "http.disconnect"}] * 2

    async def receive():
        return arriving.pop(0)

    async def send(message) -> None:
        pass

    headers = [(b"content-length", b"8")]
    asyncio.run(gate({"type": "http", "path": "/v1/runtime/push-object", "headers": headers}, receive, send))
    assert flower.messages == [{"type": "http.disconnect"}] * 2


@pytest.mark.parametrize(("length", "status"), [(str(MAX_REQUEST_BYTES + 1), 413), ("", 411)])
def test_the_inner_gate_bounds_requests_too(length, status):
    gate = InnerGate(flower := Flower(), control_secret="s")
    assert ask(gate, "/v1/runtime/push-object", {b"content-length": length.encode()})[0] == status
    assert flower.reached == []


def test_a_body_sent_to_health_is_not_kept_in_memory(keys):
    gate, _ = site_gate(keys, flower := Flower())
    ask(gate, "/health")
    assert flower.messages[0] == {"type": "http.request", "body": b"first ", "more_body": True}


def test_a_site_answers_a_message_once_and_no_more_often(keys):
    flower = Flower()
    gate, heard = site_gate(keys, flower)
    site, other = keys.roster.entries

    def push(entry) -> int:
        return ask(gate, "/v1/fleet/push-messages", node_header(entry), entry.certificate_sha256)[0]

    def take(entry) -> int:
        return ask(gate, "/v1/fleet/confirm-message-received", node_header(entry), entry.certificate_sha256)[0]

    assert (take(site), push(site), push(site)) == (200, 200, 409)
    assert heard == [Refusal(site.name, "answers a message that it has answered", 409)]
    assert push(other) == 409, "what one site took, another cannot answer"
    assert (take(site), take(site), push(site), push(site), push(site)) == (200, 200, 200, 200, 409)


def test_the_objects_of_one_reply_are_bounded_together(keys):
    flower = Flower()
    gate, heard = site_gate(keys, flower)
    site = keys.roster.entries[0]

    def send(length: int) -> int:
        headers = {**node_header(site), b"content-length": str(length).encode()}
        return ask(gate, "/v1/fleet/push-object", headers, site.certificate_sha256)[0]

    ten = 10 << 20
    assert [send(ten) for _ in range(7)] == [200] * 6 + [413]
    assert heard == [Refusal(site.name, f"a reply of more than {MAX_REPLY_BYTES} bytes", 413)]
    ask(gate, "/v1/fleet/confirm-message-received", node_header(site), site.certificate_sha256)
    assert send(ten) == 200, "the next message lets it answer again"


# --- parcels: each call is judged as if it had come by itself ---------------------------------------------------------

TAKE, ANSWER = Call("confirm-message-received", b""), Call("push-messages", b"")


def hand_in(gate, entry, *calls: Call) -> int:
    body = pack(calls).SerializeToString()
    return ask(gate, FLEET_ROUTE, node_header(entry), entry.certificate_sha256, body=body)[0]


def test_a_second_answer_inside_a_parcel_is_refused_and_named(keys):
    gate, heard = site_gate(keys, flower := Flower())
    site, other = keys.roster.entries
    assert hand_in(gate, site, TAKE, ANSWER) == 200
    assert hand_in(gate, site, TAKE, ANSWER, ANSWER) == 409
    assert heard == [Refusal(site.name, "answers a message that it has answered", 409)]
    assert flower.reached == [FLEET_ROUTE], "a parcel is refused as a whole"
    assert hand_in(gate, site, ANSWER) == 409
    assert hand_in(gate, site, ANSWER, TAKE) == 409, "in the order of the calls"
    assert hand_in(gate, other, ANSWER) == 409, "what one site took, another cannot answer"


def test_what_was_taken_in_a_parcel_may_be_answered_by_itself_and_the_reverse(keys):
    gate, _ = site_gate(keys, Flower())
    site = keys.roster.entries[0]

    def alone(name: str) -> int:
        return ask(gate, f"/v1/fleet/{name}", node_header(site), site.certificate_sha256)[0]

    assert (hand_in(gate, site, TAKE), alone("push-messages"), alone("push-messages")) == (200, 200, 409)
    assert (alone("confirm-message-received"), hand_in(gate, site, ANSWER), hand_in(gate, site, ANSWER)) == (
        *(200, 200, 409),
    )


def test_the_objects_of_one_reply_are_bounded_over_all_its_parcels(keys):
    gate, heard = site_gate(keys, Flower())
    site = keys.roster.entries[0]
    half = Call("push-object", bytes(5 << 20))
    assert hand_in(gate, site, TAKE, ANSWER) == 200
    assert [hand_in(gate, site, half, half) for _ in range(7)] == [200] * 6 + [413]
    assert heard == [Refusal(site.name, f"a reply of more than {MAX_REPLY_BYTES} bytes", 413)]
    assert hand_in(gate, site, TAKE, half) == 200, "the next message lets it answer again"


@pytest.mark.parametrize("body", [b"", b"rubbish"])
def test_a_parcel_that_cannot_be_read_never_reaches_flower_and_is_named(keys, body):
    gate, heard = site_gate(keys, flower := Flower())
    site = keys.roster.entries[0]
    assert ask(gate, FLEET_ROUTE, node_header(site), site.certificate_sha256, body=body)[0] == 400
    (refusal,) = heard
    assert (refusal.who, refusal.status, flower.reached) == (site.name, 400, [])
    assert refusal.reason.startswith("a parcel that cannot be read")


def test_questions_and_downloads_by_parcel_use_nothing_up(keys):
    gate, heard = site_gate(keys, Flower())
    site = keys.roster.entries[0]
    assert hand_in(gate, site, TAKE) == 200
    large = bytes(11 << 20)
    for name in (AWAIT, "pull-messages", "pull-object") * 3:
        assert hand_in(gate, site, Call(name, large)) == 200
    assert (hand_in(gate, site, ANSWER), heard) == (200, [])


def test_a_parcel_needs_certificate_and_node_key_like_any_request(keys):
    gate, heard = site_gate(keys, flower := Flower())
    site, other = keys.roster.entries
    body = pack([TAKE]).SerializeToString()
    assert ask(gate, FLEET_ROUTE, node_header(site), body=body)[0] == 403
    assert ask(gate, FLEET_ROUTE, node_header(other), site.certificate_sha256, body=body)[0] == 403
    assert flower.reached == [] and len(heard) == 2


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        (0, "its signature does not fit its node key"),
        (290, "its signature does not fit its node key"),
        (400, r"signed 40\d s ago: its clock and ours differ, or one was set"),
        (-60, r"signed [56]\d s ahead: its clock and ours differ, or one was set"),
        (None, "its signature does not fit its node key"),
    ],
)
def test_a_request_that_clocks_have_made_old_is_told_from_a_signature_that_does_not_fit(keys, age_s, words):
    gate, heard = site_gate(keys, Flower(401))
    site = keys.roster.entries[0]
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age_s or 0)
    stamp = b"no time" if age_s is None else moment.isoformat().encode()
    headers = {**node_header(site), b"flwr-timestamp": stamp}
    assert ask(gate, "/v1/fleet/pull-messages", headers, site.certificate_sha256)[0] == 401
    (refusal,) = heard
    assert refusal.who == site.name and re.fullmatch(words, refusal.reason)


@pytest.mark.parametrize(
    ("route", "rings"),
    [
        ("push-messages", True),
        ("push-object", True),
        ("pull-messages", False),
        ("pull-object", False),
        ("confirm-message-received", False),
        ("parcel", False),  # the desk rings by itself, once it has carried the calls out
    ],
)
def test_news_are_replies_and_orders_that_came_by_a_plain_route(keys, route, rings):
    site, news = keys.roster.entries[0], []
    body = pack([TAKE, ANSWER]).SerializeToString()
    outer = SiteGate(
        Flower(),
        keys.roster,
        allow_stock=False,
        on_refusal=lambda refusal: pytest.fail(refusal.reason),
        on_news=lambda: news.append("reply"),
    )
    ask(outer, "/v1/fleet/confirm-message-received", node_header(site), site.certificate_sha256)
    ask(outer, f"/v1/fleet/{route}", node_header(site), site.certificate_sha256, body=body)
    inner = InnerGate(Flower(), control_secret="s", on_news=lambda: news.append("order"))
    ask(inner, f"/v1/runtime/{route}", body=body)
    assert news == (["reply", "order"] if rings else [])


def test_whoever_answers_can_see_whether_the_peer_is_still_there(keys):
    seen = []

    async def flower(scope, receive, send) -> None:
        seen.append(scope[GONE])
        assert not scope[GONE].done()
        await receive()
        assert await scope[GONE] == {"type": "http.disconnect"}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    gate, _ = site_gate(keys, flower)
    site = keys.roster.entries[0]
    assert hand_in(gate, site, TAKE) == 200 and len(seen) == 1
