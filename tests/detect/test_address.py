from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.detect.address import (
    MAX_CARVED,
    NeverBan,
    NeverBanEntry,
    canonical,
    in_network,
    ip_key,
    network,
)
from guard.errors import InvalidInput


@pytest.mark.parametrize(
    ("written", "text", "key"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("0.0.0.0", "0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255", "255.255.255.255"),
        ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7", "203.0.113.7"),
        ("0:0:0:0:0:ffff:203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("64:ff9b::203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("64:ff9b::cb00:7107", "203.0.113.7", "203.0.113.7"),
        ("2001:DB8::1", "2001:db8::1", "2001:db8::/64"),
        ("2001:0db8:0000:0001:0000:0000:0000:0001", "2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::1", "fe80::/64"),
        ("fe80::1%25eth0", "fe80::1", "fe80::/64"),
        ("::1", "::1", "::/64"),
        ("::203.0.113.7", "::cb00:7107", "::/64"),
        ("64:ff9b:1::203.0.113.7", "64:ff9b:1::cb00:7107", "64:ff9b:1::/64"),
    ],
)
def test_one_client_has_one_spelling(written, text, key):
    assert canonical(written).text == text
    assert ip_key(canonical(written)) == key


@pytest.mark.parametrize(
    "written",
    [
        "",
        "-",
        "localhost",
        "203.0.113",
        "203.0.113.7.1",
        "203.0.113.256",
        "203.0.113.07",
        "0203.0.113.7",
        "203.0.113.007",
        "203.0.113.7:80",
        "[2001:db8::1]",
        "2001:db8::1::2",
        "2001:db8::/64",
        "203.0.113.7/32",
        " 203.0.113.7",
        "203.0.113.7 ",
        "203.0.113.7%eth0",
        "0xcb.0.113.7",
        "3405803783",
        "٢٠٣.0.113.7",
        "２03.0.113.7",
        "1.2.3.4\n",
        "2001:db8::12345",
        "::ffff:203.0.113.07",
        "1" * 10_000,
        "unknown",
        "203.0.113.7; }",
        "a:b",
    ],
)
def test_what_is_no_address_is_refused(written):
    with pytest.raises(InvalidInput) as refusal:
        canonical(written)
    assert not written.strip() or written not in str(refusal.value)


@given(st.ip_addresses(v=4))
def test_the_quick_reading_of_ipv4_is_the_standard_one(address):
    assert canonical(str(address)).number == (0xFFFF << 32) + int(address)
    assert canonical(str(address)) == canonical(f"::ffff:{address}") == canonical(f"64:ff9b::{address}")


@given(st.text(st.sampled_from("0123456789.:abf%/"), max_size=20))
def test_reading_agrees_with_the_standard_library_or_is_stricter(text):
    try:
        ours = canonical(text)
    except InvalidInput:
        return
    theirs = ip_address(text.partition("%")[0])
    assert ours.version == 4 or theirs == IPv6Address(ours.number)
    assert canonical(ours.text) == ours


@given(st.ip_addresses(v=6), st.integers(48, 64))
def test_a_key_is_the_network_of_the_address(address, prefix):
    ours = canonical(str(address))
    if ours.version == 6:
        assert ip_key(ours, prefix) == str(ip_network(f"{address}/{prefix}", strict=False))


@pytest.mark.parametrize(
    ("written", "net"),
    [
        ("192.0.2.0/28", "192.0.2.0/28"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("::ffff:192.0.2.0/124", "192.0.2.0/28"),
        ("2001:DB8:7::/48", "2001:db8:7::/48"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_networks(written, net):
    assert str(network(written)) == net


@pytest.mark.parametrize(
    "written",
    [
        "192.0.2.1/28",
        "192.0.2.0/33",
        "192.0.2.0/-1",
        "192.0.2.0/",
        "192.0.2.0/a",
        "::ffff:192.0.2.0/90",
        "x/24",
        "192.0.2.0/²",
        "/24",
    ],
)
def test_what_is_no_network_is_refused(written):
    with pytest.raises(InvalidInput):
        network(written)


nets = st.one_of(
    st.sampled_from([ip_network(wide) for wide in ("0.0.0.0/0", "::/0", "::/64", "2001:db8::/32")]),
    st.builds(
        lambda host, bits: ip_network((int(IPv4Address("192.0.2.0")) + host >> (32 - bits) << (32 - bits), bits)),
        st.integers(0, 255),
        st.integers(22, 32),
    ),
    st.builds(
        lambda host, bits: ip_network(
            (int(IPv6Address("2001:db8::")) + (host << 60) >> (128 - bits) << (128 - bits), bits)
        ),
        st.integers(0, 255),
        st.integers(52, 68),
    ),
)


def inside(address, net):
    return in_network(canonical(str(address)).number, net)


@settings(max_examples=150)
@given(st.lists(nets, max_size=6), nets, st.data())
def test_the_never_ban_set_agrees_with_plain_containment(protected, candidate, data):
    never = NeverBan(NeverBanEntry(net, f"reason {i}") for i, net in enumerate(protected))
    addresses = [candidate[0], candidate[-1], *(net[0] for net in protected), *(net[-1] for net in protected)]
    address = data.draw(st.sampled_from(addresses))
    found = never.contains(str(address))
    assert (found is not None) == any(inside(address, net) for net in protected)
    assert found is None or inside(address, found.network)
    touching = [net for net in protected if net.version == candidate.version and net.overlaps(candidate)]
    assert (never.overlaps(candidate) is not None) == bool(touching)


@settings(max_examples=150)
@given(st.lists(nets, max_size=4), nets)
def test_carving_leaves_exactly_what_is_not_protected(protected, candidate):
    never = NeverBan(NeverBanEntry(net, "reason") for net in protected)
    pieces = never.carve(candidate)
    if pieces is None:
        return
    same = [net for net in protected if net.version == candidate.version]
    assert all(piece.subnet_of(candidate) for piece in pieces)
    assert all(not piece.overlaps(net) for piece in pieces for net in same)
    assert all(not a.overlaps(b) for i, a in enumerate(pieces) for b in pieces[i + 1 :])
    holes = [net for net in same if net.overlaps(candidate)]
    distinct = [net for net in set(holes) if not any(net != other and net.subnet_of(other) for other in holes)]
    covered = sum(min(net.num_addresses, candidate.num_addresses) for net in distinct)
    assert sum(piece.num_addresses for piece in pieces) == max(candidate.num_addresses - covered, 0)


def test_a_64_out_of_a_48_leaves_sixteen_pieces():
    never = NeverBan([NeverBanEntry(network("2001:db8:1:2::/64"), "office")])
    assert len(never.carve(network("2001:db8:1::/48"))) == 16


def test_one_protected_address_in_a_client_network_leaves_the_rest_of_it():
    never = NeverBan([NeverBanEntry(network("2001:db8::5"), "admin")])
    pieces = never.carve(network("2001:db8::/64"))
    assert len(pieces) == MAX_CARVED
    assert not any(IPv6Address("2001:db8::5") in piece for piece in pieces)


def test_too_many_holes_are_not_carved():
    never = NeverBan(NeverBanEntry(network(f"2001:db8::{n:x}:5"), "admin") for n in range(1, 9))
    assert never.carve(network("2001:db8::/64")) is None


def test_an_ipv6_network_holds_no_ipv4_address_however_wide_it_is():
    never = NeverBan([NeverBanEntry(network("::/0"), "all of IPv6")])
    assert never.contains("203.0.113.7") is None
    assert never.contains("::ffff:203.0.113.7") is None
    assert never.contains("2001:db8::1").reason == "all of IPv6"
    assert never.overlaps(network("203.0.113.0/24")) is None
    assert NeverBan([NeverBanEntry(network("203.0.113.0/24"), "office")]).overlaps(network("::/0")) is None


def test_a_mapped_address_is_protected_as_the_ipv4_address_it_is():
    never = NeverBan([NeverBanEntry(network("192.0.2.0/28"), "proxies")])
    assert never.contains("::ffff:192.0.2.3").reason == "proxies"
    assert never.contains("192.0.2.16") is None
    assert never.overlaps(network("0.0.0.0/0")).reason == "proxies"
    assert NeverBan().contains("192.0.2.1") is None
