"""Whose signatures a log needs: the policy of c2sp.org/tlog-policy, and guard's ranges of sizes for each key.

Law: a checkpoint counts if one of the log's keys signed it and the witnesses of the quorum did. A policy has no sizes,
so `ranges.json` says which sizes a key may sign: a stolen key signs nothing after the size at which it was retired.
No I/O.
"""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .canonical import canonical
from .notes import MAX_SIZE, WITNESS_TYPES, parse_vkey
from .stolen import stolen_of

MAX_LINES = 256  # the specification asks for 32 logs, witnesses and groups each


class Range(NamedTuple):
    """The sizes that a key may sign, both ends included; since when others may have it, and the root at the last."""

    first: int
    last: int
    stolen_us: int | None = None
    root: bytes = b""


class Group(NamedTuple):
    """Members, by name, of which so many must have cosigned."""

    threshold: int
    members: tuple[str, ...]


@dataclass(slots=True)
class Policy:
    """The log's keys, the witnesses by their names in the policy, groups, and what is enough."""

    logs: dict[str, bytes] = field(default_factory=dict)
    witnesses: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    quorum: str = ""

    @property
    def keys(self) -> dict[str, bytes]:
        """Every key by its label `name+id`: the log's and the witnesses'."""
        return dict(self.witnesses.values()) | self.logs

    def met(self, name: str, signed: set[str]) -> bool:
        """Has this witness or group cosigned, if these labels have?"""
        if name in self.witnesses:
            return self.witnesses[name][0] in signed
        group = self.groups[name]
        return sum(self.met(member, signed) for member in group.members) >= group.threshold

    def shortfall(self, signed: set[str]) -> str:
        """What the quorum misses if these labels have signed; empty if it is met."""
        if self.quorum == "none" or self.met(self.quorum, signed):
            return ""
        cosigned = [name for name, (label, _) in self.witnesses.items() if label in signed]
        group = self.groups.get(self.quorum)
        wanted = f"{group.threshold} of {', '.join(group.members)}" if group else self.quorum
        return f"the quorum {self.quorum} ({wanted}) was expected, cosigned {', '.join(cosigned) or 'by nobody'}"


def is_bare(text: str) -> bool:
    """Is this nothing but keys of the log and no quorum, in the one spelling that guard writes?"""
    vkeys = re.findall(r"(?m)^log (\S+)$", text)
    return bool(vkeys) and text == "".join(f"log {vkey}\n" for vkey in vkeys) + "quorum none\n"


def parse_policy(text: str) -> Policy:
    """The policy of a text; raises ValueError, with the number of the line, for anything else."""
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
        raise ValueError("no control characters but tab and newline were expected")
    policy, members = Policy(), set[str]()
    lines = [(number, re.findall(r"[^ \t]+", line)) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, words) for number, words in lines if words and not words[0].startswith("#")]
    if len(lines) > MAX_LINES:
        raise ValueError(f"at most {MAX_LINES} lines were expected, {len(lines)} came")
    for number, words in lines:
        try:
            _take(policy, members, *words)
        except (ValueError, TypeError) as error:
            came = error if isinstance(error, ValueError) else "another number of words was expected"
            raise ValueError(f"line {number}: {came}") from None
    if not policy.quorum:
        raise ValueError("one line `quorum NAME` was expected, none came")
    return policy


def _take(policy: Policy, members: set[str], kind: str, *words: str) -> None:
    if kind == "log":
        _log(policy, *words)
    elif kind == "witness":
        _witness(policy, *words)
    elif kind == "group":
        _group(policy, members, *words)
    elif kind == "quorum":
        _quorum(policy, *words)
    else:
        raise ValueError("log, witness, group or quorum was expected")


def _log(policy: Policy, vkey: str, _url: str = "") -> None:
    label, material = parse_vkey(vkey)
    if material in policy.logs.values():
        raise ValueError("each key of the log once was expected")
    policy.logs[label] = material


def _witness(policy: Policy, name: str, vkey: str, _url: str = "") -> None:
    key = parse_vkey(vkey, WITNESS_TYPES)
    if key[1] in dict(policy.witnesses.values()).values():
        raise ValueError("each key of a witness once was expected")
    policy.witnesses[_new(policy, name)] = key


def _group(policy: Policy, members: set[str], name: str, threshold: str, *names: str) -> None:
    counts = {"any": "1", "all": str(len(names))}
    number = counts.get(threshold, threshold)
    if not re.fullmatch(r"[1-9][0-9]{0,5}", number) or int(number) > len(names):
        raise ValueError("any, all or a number from 1 to that of the members was expected")
    for member in names:
        if member in members or member not in {*policy.witnesses, *policy.groups}:
            raise ValueError("members that stand in lines above, and in one group only, were expected")
        members.add(member)
    policy.groups[_new(policy, name)] = Group(int(number), names)


def _quorum(policy: Policy, name: str) -> None:
    if policy.quorum or name not in {"none", *policy.witnesses, *policy.groups}:
        raise ValueError("one quorum was expected: none, or a witness or group from a line above")
    policy.quorum = name


def _new(policy: Policy, name: str) -> str:
    if name in {"none", *policy.witnesses, *policy.groups}:
        raise ValueError("a name of its own was expected for each witness and group")
    return name


def parse_ranges(text: str) -> dict[str, Range]:
    """The range of each key by its label; `to_size` is null, or left out, where a key is still in use."""
    content = canonical(text)
    if type(content) is not dict:
        raise ValueError("an object of verifier keys was expected")
    return dict(_range(vkey, value) for vkey, value in content.items())


def _range(vkey: str, value: Any) -> tuple[str, Range]:
    label, _ = parse_vkey(vkey)
    if type(value) is not dict or not {"from_size"} <= set(value) <= {"from_size", "to_size", "stolen_us", "root"}:
        raise ValueError(f"from_size and to_size were expected for {label}")
    first, last = value["from_size"], value.get("to_size")
    last = MAX_SIZE if last is None else last
    if type(first) is not int or type(last) is not int or not 0 <= first <= last:
        raise ValueError(f"sizes from 0, the first not above the last, were expected for {label}")
    return label, Range(first, last, *stolen_of(value))
