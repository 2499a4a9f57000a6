"""What is done with one custody slot: its options are checked, it is made and opened at once, or opened later.

Law: a new wrap is opened again before anybody relies on it, with what its holders were given; whatever a slot gives is
compared with its key-check value in constant time; secrets of people are in no row. The slot `file-1` without a path
is the key file of the settings. These functions reach key services: none is called with a transaction open.
"""

import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

from guard.errors import InvalidInput, InvalidSetting
from guard.plugins import load, names
from guard.vault.custody import RANDOMNESS_BYTES
from guard.vault.keys import Secret
from guard.vault.store import SlotRow
from guard.vault.wrap import check_secret, key_check_value

FOLDER: Final = "vault/custody"
FILE: Final = "file"
SEAL_VERSION: Final = 1
KEY_BYTES: Final = 32
MAX_TEXT: Final = 1024


def kind(plugin: str) -> ModuleType:
    """The plugin of this name.

    Raises:
        InvalidInput: there is none.
    """
    if plugin not in names(FOLDER):
        raise InvalidInput(f"Expected one of {', '.join(names(FOLDER))} as custody, got another name.")
    return load(FOLDER, plugin)


def is_automatic(plugin: str) -> bool:
    """Whether a slot of this kind opens without anything that people give."""
    return not load(FOLDER, plugin).SECRETS


def needed(row: SlotRow) -> int:
    """How many shares open the slot; 1 for a passphrase, 0 for what opens by itself."""
    module = load(FOLDER, row.plugin)
    if "shares" in module.SECRETS:
        return int((json.loads(row.options).get("threshold")) or module.OPTIONAL["threshold"])
    return len(module.SECRETS)


def check_options(plugin: str, options: Mapping[str, str], secrets: Mapping[str, str], *, production: bool) -> None:
    """Look at what a new slot is asked to be.

    Raises:
        InvalidInput: an option is missing, unknown or too long, or a secret stands among the options.
        InvalidSetting: a key file in production.
    """
    module = kind(plugin)
    if plugin == FILE and production:
        raise InvalidSetting("Expected custody outside the host with production = true, got a key file; name another.")
    known = {*module.OPTIONS, *module.OPTIONAL}
    unknown = sorted(set(options) - known)
    if unknown:
        listed = ", ".join(sorted(known)) or "none"
        raise InvalidInput(f"Expected the options {listed} for {plugin}, got another one; secrets are no options.")
    missing = sorted(name for name in module.OPTIONS if not options.get(name))
    if missing:
        raise InvalidInput(f"Expected {', '.join(missing)} for custody by {plugin}, got none; add --option NAME=VALUE.")
    if any(len(text) > MAX_TEXT for text in options.values()):
        raise InvalidInput(f"Expected options of at most {MAX_TEXT} characters, got a longer one.")
    if set(secrets) - set(module.SECRETS):
        raise InvalidInput(f"Expected for {plugin} no other secrets than {', '.join(module.SECRETS) or 'none'}.")


def record_of(cluster: str, slot_id: str) -> bytes:
    """The authenticated description of a slot."""
    return json.dumps({"cluster": cluster, "seal_version": SEAL_VERSION, "slot": slot_id}, sort_keys=True).encode()


def make(
    place: tuple[str, str, str],
    options: Mapping[str, str],
    secrets: Mapping[str, str],
    seal: Secret,
    random: Callable[[int], bytes],
) -> tuple[SlotRow, tuple[str, ...]]:
    """A new slot that holds the seal secret, opened once already, and the shares to hand out.

    *place* is (cluster, slot id, plugin).

    Raises:
        GuardError: of the plugin; then nothing was changed but what a key file or a token now holds.
    """
    cluster, slot_id, plugin = place
    module = kind(plugin)
    record = record_of(cluster, slot_id)
    secret = seal.expose()
    slot = module.create({**options, **secrets}, random(RANDOMNESS_BYTES))
    check_value = key_check_value(secret, slot_id, SEAL_VERSION)
    wrapped = slot.wrap(record, secret)
    row = SlotRow(slot_id, plugin, record, wrapped, SEAL_VERSION, check_value, json.dumps(dict(options)))
    handed = {"shares": "\n".join(slot.handout[-needed(row) :])} if slot.handout else {}
    open_slot(row, "", {**secrets, **handed}).wipe()
    return row, slot.handout


def open_slot(row: SlotRow, key_file: str, secrets: Mapping[str, str]) -> Secret:
    """The seal secret from a slot, checked.

    Raises:
        WrongRootKey: what came is another secret. RootKeyMissing, CustodyUnreachable, InvalidInput: of the plugin.
    """
    options = json.loads(row.options)
    if row.plugin == FILE and not options.get("path"):
        options["path"] = key_file
    found = kind(row.plugin).attach({**options, **secrets}).unwrap(row.record, row.wrapped)
    check_secret(found, row.slot_id, row.seal_version, row.check_value)
    return Secret(found, "seal secret")
