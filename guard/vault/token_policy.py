"""The part of a field's policy that is about tokens: for what they are issued, what they look like, who sees what.

A domain is what tokens are issued for: equal values of a person have one token in it, and other ones in every other.
Law: what a reveal shows is chosen here, by role and purpose, and never by the caller. Of several rules that hold for a
caller the one that shows most decides, with all that it needs. What no rule names is not revealed. No I/O.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from guard.errors import InvalidPolicy
from guard.vault.declaration import Entry, refuse
from guard.vault.formats import MAX_LENGTH, Format

MAX_DOMAINS: Final = 32
MAX_RULES: Final = 128
MAX_TTL_HOURS: Final = 87_600
"""Ten years. A token that shall outlive them has no 'ttl_hours' at all."""
DIGITS: Final = "0123456789"
ORDER: Final = ("none", "last4", "partial", "email", "full")
"""The masks, from the one that shows least to the one that shows all."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ROLE: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_TOKENS: Final = frozenset({"domains", "reveal"})
_RULE_REQUIRED: Final = frozenset({"role", "purpose", "mask"})
_RULE_OPTIONAL: Final = frozenset({"needs"})
_LIFE: Final = frozenset({"ttl_hours", "single_use"})
_SAME: Final = frozenset({"form", "alphabet", "min_length"})
_SAME_OPTIONAL: Final = frozenset({"keep_first", "keep_last", "luhn"})


class Need(Enum):
    """What a reveal needs beyond role and purpose."""

    STEP_UP = "step_up"  # the caller has just proved again who he is
    SECOND_PERSON = "second_person"  # somebody else has approved it


@dataclass(frozen=True, slots=True)
class Domain:
    """What tokens of one purpose look like, and how long they live at most."""

    name: str
    format: Format | None = None
    """The format that a token shares with its value; None for `tok_` and 26 random characters."""

    luhn_fails: bool = False
    """No token passes the check of card numbers, so none is taken for one."""

    ttl_seconds: int | None = None
    single_use: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """What holders of a role see of a revealed value for one purpose."""

    role: str
    purpose: str
    mask: str
    needs: frozenset[Need] = frozenset()


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """Domains by name, and the rules of revealing."""

    domains: dict[str, Domain]
    rules: tuple[Rule, ...]

    def choose(self, roles: Iterable[str], purpose: str) -> Rule | None:
        """The rule for a holder of *roles* (`role:support`); None where nothing is revealed to him."""
        held = frozenset(roles)
        found = [rule for rule in self.rules if rule.purpose == purpose and f"role:{rule.role}" in held]
        # Of two rules that show alike, the one that needs less: who holds both roles may use either.
        return max(found, key=lambda rule: (ORDER.index(rule.mask), -len(rule.needs)), default=None)


def parse_tokens(entry: Entry, purposes: frozenset[str]) -> TokenPolicy:
    """The value of a column's `tokens`.

    Raises:
        InvalidPolicy: it has another form, or reveals for a purpose that the column does not name.
    """
    given = entry.mapping(_TOKENS)
    domains = given["domains"].open_mapping()
    if not 1 <= len(domains) <= MAX_DOMAINS:
        raise given["domains"].refuse(f"1 to {MAX_DOMAINS} domains")
    rules = tuple(_rule(one, purposes) for one in given["reveal"].items(MAX_RULES))
    if len({(rule.role, rule.purpose) for rule in rules}) != len(rules):
        raise given["reveal"].refuse("each role and purpose once")
    return TokenPolicy({name: _domain(name, one) for name, one in domains.items()}, rules)


def _domain(name: str, entry: Entry) -> Domain:
    if not _NAME.fullmatch(name):
        raise refuse(entry.file_name, entry.line, f"expected the name of a domain in lower case; {name[:40]!r} came")
    form = entry.open_mapping().get("form")
    if form is None or form.value not in {"random", "same"}:
        raise (form or entry).refuse("'form: random' or 'form: same'")
    if form.value == "random":
        given = entry.mapping(frozenset({"form"}), _LIFE)
        ttl_seconds, single_use = _life(given)
        return Domain(name, ttl_seconds=ttl_seconds, single_use=single_use)
    given = entry.mapping(_SAME, _SAME_OPTIONAL | _LIFE)
    made = _format(given, entry)
    return Domain(name, made, "luhn" in given and _luhn(given["luhn"], made), *_life(given))


def _life(given: dict[str, Entry]) -> tuple[int | None, bool]:
    ttl_seconds = given["ttl_hours"].integer(1, MAX_TTL_HOURS) * 3600 if "ttl_hours" in given else None
    return ttl_seconds, "single_use" in given and given["single_use"].flag()


def _format(given: dict[str, Entry], entry: Entry) -> Format:
    kept = [given[name].integer(0, MAX_LENGTH) if name in given else 0 for name in ("keep_first", "keep_last")]
    alphabet = given["alphabet"].text("the characters in their order")
    try:
        return Format(alphabet, given["min_length"].integer(2, MAX_LENGTH), *kept)
    except InvalidPolicy as error:
        raise refuse(entry.file_name, entry.line, error.detail.rstrip(".")) from None


def _luhn(entry: Entry, made: Format) -> bool:
    if entry.value != "fails" or made.alphabet != DIGITS:
        raise entry.refuse(f"'luhn: fails' beside the alphabet {DIGITS!r}, or no 'luhn'")
    return True


def _rule(entry: Entry, purposes: frozenset[str]) -> Rule:
    given = entry.mapping(_RULE_REQUIRED, _RULE_OPTIONAL)
    role = given["role"].text("the name of a role")
    if not _ROLE.fullmatch(role):
        raise given["role"].refuse("the name of a role without 'role:', such as support")
    purpose = given["purpose"].text("a purpose")
    if purpose not in purposes:
        raise given["purpose"].refuse(f"a purpose of the column ({', '.join(sorted(purposes))})")
    if given["mask"].value not in ORDER:
        raise given["mask"].refuse(f"a mask ({', '.join(sorted(ORDER))})")
    return Rule(role, purpose, given["mask"].text(), _needs(given["needs"]) if "needs" in given else frozenset())


def _needs(entry: Entry) -> frozenset[Need]:
    known = {need.value: need for need in Need}
    items = entry.items(len(known))
    for one in items:
        if one.value not in known:
            raise one.refuse(f"a need ({', '.join(sorted(known))})")
    return frozenset(known[one.text()] for one in items)
