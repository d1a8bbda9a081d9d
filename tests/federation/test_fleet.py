"""A site's client: what it does when its signature is not accepted."""

from __future__ import annotations

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from secure_fl.federation.fleet import _Counting, _SigningAgain
from secure_fl.federation.traffic import TrafficMeter


class Coordinator:
    """Answers with these statuses, one after the other; the last one for good."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.requests: list[tuple[httpx.Headers, bytes]] = []
        self.traffic = TrafficMeter()
        key = ec.generate_private_key(ec.SECP384R1())
        signing = NodeAuthHttpInterceptor(key, key.public_key())
        self.client = FleetHttpClient("http://here", interceptors=[_SigningAgain(), signing, _Counting(self.traffic)])
        self.client._client.close()
        self.client._client = httpx.Client(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((request.headers.copy(), request.content))
        return httpx.Response(self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0])

    def pull(self) -> PullMessagesResponse:
        return self.client.PullMessages(PullMessagesRequest())


def test_a_request_that_is_refused_is_signed_anew_and_sent_once_more() -> None:
    coordinator = Coordinator(401, 200)
    assert coordinator.pull() == PullMessagesResponse()
    (first, body), (second, again) = coordinator.requests
    assert body == again
    changed = {name for name in first if first[name] != second.get(name)}
    assert changed == {"flwr-timestamp", "flwr-signature"} and set(first) == set(second)
    assert len(second.get_list("flwr-signature")) == 1


def test_a_request_is_signed_anew_once_and_no_more() -> None:
    coordinator = Coordinator(401)
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        coordinator.pull()
    assert len(coordinator.requests) == 2


@pytest.mark.parametrize("status", [200, 400, 403, 409, 412, 500])
def test_nothing_else_is_asked_again(status: int) -> None:
    coordinator = Coordinator(status)
    if status == 200:
        coordinator.pull()
    else:
        with pytest.raises(httpx.HTTPStatusError, match=str(status)):
            coordinator.pull()
    assert len(coordinator.requests) == 1


def test_both_requests_count_as_traffic() -> None:
    once, twice = Coordinator(200), Coordinator(401, 200)
    for each in (once, twice):
        each.pull()
    assert twice.traffic.take()[0].sent_bytes > 1.9 * once.traffic.take()[0].sent_bytes
