"""Decisions in force, found by the account or by the networks that an address lies in. No I/O.

Law: an account that is spelt like an address is no address: whoever fails to log in chooses that name, and a decision
on it must not fall on somebody else's address. Each prefix length that is in use costs one look-up.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from guard.detect.address import Address, canonical, network
from guard.detect.decide import Scope
from guard.detect.user import user_key
from guard.errors import InvalidInput

BITS = 128  # of the number of an address, IPv4 as ::ffff:a.b.c.d
V4_BITS, V4_TAIL, V4_HEAD = 96, 32, 0xFFFF  # and of these, what all IPv4 addresses have in common


@dataclass(frozen=True, slots=True)
class Standing:
    """A decision that an enforcement point applies."""

    id: str
    tenant: str
    scope: str
    value: str = field(repr=False)
    type: str
    until_us: int


class InForce:
    """An immutable index of decisions."""

    __slots__ = ("_accounts", "_lengths", "_networks")

    def __init__(self, standing: Iterable[Standing]) -> None:
        self._accounts: dict[tuple[str, str], list[Standing]] = {}
        self._networks: dict[tuple[str, int, int], list[Standing]] = {}
        self._lengths: dict[str, set[int]] = {}
        for one in standing:
            if one.scope == Scope.USER:
                self._accounts.setdefault((one.tenant, user_key(one.value)), []).append(one)
            elif one.scope in {Scope.IP, Scope.RANGE}:
                length, prefix = _place(one.value)
                self._networks.setdefault((one.tenant, length, prefix), []).append(one)
                self._lengths.setdefault(one.tenant, set()).add(length)

    def against(self, tenant: str, value: str) -> list[Standing]:
        """Those against a network as a whole, or against an account, however its name is typed."""
        try:
            length, prefix = _place(value)
        except InvalidInput:
            return self._accounts.get((tenant, user_key(value)), [])
        return self._holding(tenant, prefix << (BITS - length), length)

    def on_address(self, tenant: str, address: Address) -> list[Standing]:
        """Those against an address or a network that holds it."""
        return self._holding(tenant, address.number, BITS)

    def _holding(self, tenant: str, number: int, longest: int) -> list[Standing]:
        shortest = V4_BITS if number >> V4_TAIL == V4_HEAD else 0  # `::/0` holds no IPv4 address
        lengths = [length for length in self._lengths.get(tenant, ()) if shortest <= length <= longest]
        places = [(tenant, length, number >> (BITS - length)) for length in lengths]
        return [one for place in places for one in self._networks.get(place, ())]


def _place(value: str) -> tuple[int, int]:
    """Prefix length and prefix of a network, in the numbers of `Address`."""
    net = network(value)
    length = net.prefixlen + (V4_BITS if isinstance(net, IPv4Network) else 0)
    return length, canonical(str(net.network_address)).number >> (BITS - length)
