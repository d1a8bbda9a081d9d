"""Which network interface traffic takes, as the kernel itself decides it.

Easy to get wrong: a site on the coordinator's own machine that connects to 10.0.0.5, the address of eth0, never
touches eth0. Linux delivers whatever is addressed to the machine itself over the loopback interface, so a capture on
eth0 would see nothing and, without an account of sessions, look clean. The kernel's routing answers (RTM_GETROUTE of
rtnetlink(7)) include this rule, policy routing and the current network namespace.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys

import psutil

from audit.capture.account import CaptureUnavailable

__all__ = ["interface_of", "interfaces_serving"]

_GET_ROUTE, _ERROR = 26, 2
_DESTINATION, _OUT_INTERFACE = 1, 4  # attributes of a route
_REQUEST = 1
_header = struct.Struct("=IHHII")  # struct nlmsghdr
_route = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_attribute = struct.Struct("=HH")


def interface_of(address: str) -> str:
    """The interface over which this machine exchanges packets with `address`: "lo" for each of its own addresses.

    Raises `ValueError` if it is no IP address, `CaptureUnavailable` if it cannot be reached from here.
    """
    if sys.platform != "linux":
        raise CaptureUnavailable(f"packets are captured on Linux only, and this is {sys.platform}")
    ip = ipaddress.ip_address(address.partition("%")[0])
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    body = _route.pack(family, ip.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += _attribute.pack(_attribute.size + len(ip.packed), _DESTINATION) + ip.packed
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(_header.pack(_header.size + len(body), _GET_ROUTE, _REQUEST, 1, 0) + body)
        answer = netlink.recv(1 << 16)
    length, kind, *_ = _header.unpack_from(answer)
    at = _header.size + _route.size
    while kind != _ERROR and at + _attribute.size <= length:
        size, name = _attribute.unpack_from(answer, at)
        if name == _OUT_INTERFACE:
            return socket.if_indextoname(struct.unpack_from("=I", answer, at + _attribute.size)[0])
        at += max(size + 3 & ~3, _attribute.size)
    raise CaptureUnavailable(f"no interface of this machine leads to {address}")


def interfaces_serving(host: str) -> tuple[str, ...]:
    """The interfaces on which a listener at `host` meets its clients, those of this machine first.

    "lo" always, because that is where local clients arrive; then the owner of the address, or every interface that is
    up for the unspecified address. Join them with commas for a capture. Raises `ValueError` if `host` is no IP address,
    `CaptureUnavailable` if no interface has it.
    """
    ip = ipaddress.ip_address(host.partition("%")[0])
    if ip.is_loopback:
        return ("lo",)
    status = psutil.net_if_stats()
    owned = {
        name: [each.address.partition("%")[0] for each in addresses if each.family in (socket.AF_INET, socket.AF_INET6)]
        for name, addresses in psutil.net_if_addrs().items()
        if name in status and status[name].isup
    }
    others = [name for name, own in owned.items() if name != "lo" and ((ip.is_unspecified and own) or str(ip) in own)]
    if not others and not ip.is_unspecified:
        raise CaptureUnavailable(f"no interface that is up has the address {host}")
    return ("lo", *sorted(others))
