"""audit/capture/interfaces.py: the kernel's answers, on this machine and in a namespace."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from audit.capture.account import CaptureUnavailable
from audit.capture.interfaces import interface_of, interfaces_serving
from tests.audit.capture.traffic import ENVIRONMENT, FAR_V4, FAR_V6, NEAR_V4, NEAR_V6, namespace, need_namespaces


def test_every_address_of_this_machine_is_reached_over_loopback() -> None:
    own = {
        each.address
        for addresses in psutil.net_if_addrs().values()
        for each in addresses
        if each.family.name == "AF_INET"
    }
    assert {interface_of(address) for address in own | {"127.0.0.1", "127.9.9.9", "::1"}} == {"lo"}


def test_a_neighbour_is_reached_over_the_interface_that_leads_to_it() -> None:
    need_namespaces()
    with namespace() as near:
        assert interface_of(FAR_V4) == interface_of(FAR_V6) == near
        assert interface_of(NEAR_V4) == interface_of(NEAR_V6) == "lo"
        assert interfaces_serving(NEAR_V4) == interfaces_serving(NEAR_V6) == ("lo", near)
        assert {"lo", near} <= set(interfaces_serving("0.0.0.0"))  # noqa: S104


def test_a_loopback_listener_is_served_by_loopback_alone() -> None:
    assert interfaces_serving("127.0.0.1") == interfaces_serving("::1") == ("lo",)


def test_what_leads_nowhere_is_refused() -> None:
    need_namespaces()
    code = "from audit.capture.interfaces import interface_of; interface_of('192.0.2.77')"
    ended = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert "CaptureUnavailable: no interface of this machine leads to 192.0.2.77" in ended.stderr
    with pytest.raises(CaptureUnavailable, match="no interface that is up has the address"):
        interfaces_serving("192.0.2.77")


@pytest.mark.parametrize("ask", [interface_of, interfaces_serving])
def test_a_name_is_no_address(ask) -> None:
    with pytest.raises(ValueError, match="localhost"):
        ask("localhost")


def test_off_linux_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(CaptureUnavailable, match="Linux only"):
        interface_of("127.0.0.1")
