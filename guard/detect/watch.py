"""The detect room in memory: rules, one engine per stream, the never-ban set, and the decisions in force.

Law: engines are fed outside any transaction and keep their news until it is committed; what is in force is swapped
after a commit and read without a lock.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from guard.db.engine import Tx
from guard.detect import store
from guard.detect.address import NeverBan, NeverBanEntry, canonical, network
from guard.detect.engine import Engine
from guard.detect.rules import Rule, load_rules
from guard.detect.standing import InForce, Standing
from guard.errors import InvalidInput

MAX_STREAMS = 256  # engines in memory; the least recently fed goes, and its open windows with it
LOOPBACK = (("127.0.0.0/8", "this machine"), ("::1/128", "this machine"))


class Stream:
    """One engine and the lock that gives it one caller at a time."""

    def __init__(self, rules: tuple[Rule, ...], late_us: int) -> None:
        self.engine = Engine(rules, late_us)
        self.lock = threading.Lock()


class Watch:
    """What the operations of this room work on."""

    def __init__(self, rules: tuple[Rule, ...], never_ban: NeverBan, late_us: int) -> None:
        self.rules: Mapping[bytes, Rule] = {rule.rule_hash: rule for rule in rules}
        self.never_ban = never_ban
        self._late_us = late_us
        self._lock = threading.Lock()
        self._streams: OrderedDict[tuple[str, str], Stream] = OrderedDict()
        self._in_force = InForce(())

    def load(self, tx: Tx, now_us: int) -> None:
        """Read the decisions in force."""
        self.swap(store.standing(tx, now_us))

    def stream(self, tenant: str, name: str) -> Stream:
        """The stream's engine, made at its first line."""
        with self._lock:
            key = (tenant, name)
            found = self._streams.get(key)
            if found is None:
                found = self._streams[key] = Stream(tuple(self.rules.values()), self._late_us)
                if len(self._streams) > MAX_STREAMS:
                    self._streams.popitem(last=False)
            self._streams.move_to_end(key)
            return found

    def forget(self, tenant: str, name: str) -> None:
        """A finished stream needs no engine any more."""
        with self._lock:
            self._streams.pop((tenant, name), None)

    def swap(self, standing: Iterable[Standing]) -> None:
        """Replace what is in force; called after a commit."""
        self._in_force = InForce(standing)

    def in_force(self, tenant: str, value: str, now_us: int) -> list[Standing]:
        """Decisions in force against an address or network, by itself or by a network that holds it, or an account."""
        try:
            address = canonical(value)
        except InvalidInput:
            found = self._in_force.against(tenant, value)
        else:
            found = [] if self.never_ban.contains(value) else self._in_force.on_address(tenant, address)
        return [one for one in found if one.until_us > now_us]


def load_watch(files: Sequence[tuple[str, str]], never_ban: Sequence[str], late_us: int) -> Watch:
    """Rules of the given files (name, text), and the never-ban set of the settings beside this machine itself.

    Raises:
        InvalidRule: a rule cannot be evaluated; the message names its file.
    """
    entries = [NeverBanEntry(network(text), reason) for text, reason in LOOPBACK]
    entries += [NeverBanEntry(network(text), "configured as never_ban") for text in never_ban]
    return Watch(load_rules(files), NeverBan(entries), late_us)
