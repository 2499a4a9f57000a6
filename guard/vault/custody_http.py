"""One JSON call to a key service over HTTPS, for the custody slots that need no library of their own.

Law: no redirect, no proxy from the environment, one bounded answer within a limit; a token is read from its file at
each call, since whoever renews it writes the file anew, and neither token nor answer stands in an error. It is
called at the start and when slots change, never on the way of data.
"""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx2

from guard.errors import CustodyUnreachable, InvalidSetting, RootKeyMissing, WrongRootKey

TIMEOUT_SECONDS: Final = 10
MAX_ANSWER_BYTES: Final = 1 << 16
MAX_TOKEN_BYTES: Final = 1 << 14
_OK, _BAD_REQUEST, _UNKNOWN, _MANY, _SERVER = 200, 400, 404, 429, 500
_HINT: Final = "It is tried again; see whether the service runs and this host may reach it."


def token(path: str) -> str:
    """The token in a file.

    Raises:
        RootKeyMissing: the file is not there, unreadable, empty or too large.
    """
    try:
        with Path(path).open("rb") as file:
            found = file.read(MAX_TOKEN_BYTES + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RootKeyMissing(
            f"Expected to read a token from {path}, got {type(error).__name__}; put it there."
        ) from None
    if not found or len(found) > MAX_TOKEN_BYTES:
        raise RootKeyMissing(f"Expected a token in {path}, got none or another file; put it there.")
    return found


def call(
    who: str,
    url: str,
    body: Mapping[str, Any] | None,
    headers: Mapping[str, str],
    ca_file: str = "",
) -> dict[str, Any]:
    """POST *body* as JSON, or GET without one; the JSON object of the answer. *who* names the service in errors.

    Raises:
        CustodyUnreachable: no answer, a busy one (429), or one of the service's own failures (5xx).
        WrongRootKey: 400, with which every such service refuses a ciphertext that is not of this key.
        RootKeyMissing: any other refusal: the token, the key or the address is not right.
    """
    status, content = _send(who, url, body, headers, ca_file)
    if status == _OK:
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return answer
        raise CustodyUnreachable(f"Expected JSON from {who}, got something else; see its address.")
    if status == _BAD_REQUEST:
        raise WrongRootKey(
            f"{who} refuses to open this slot with its key (status 400).", hint="See which key it holds."
        )
    if status == _MANY or status >= _SERVER:
        raise CustodyUnreachable(f"{who} answers with status {status}.", hint=_HINT)
    what = "does not know this key" if status == _UNKNOWN else "refuses the token or the address"
    raise RootKeyMissing(f"{who} {what} (status {status}).", hint="Check key, token and address of this slot.")


def _send(
    who: str, url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str], ca_file: str
) -> tuple[int, bytes]:
    content = b""
    try:
        with httpx2.stream(
            "GET" if body is None else "POST",
            url,
            content=None if body is None else json.dumps(body).encode(),
            headers={**headers, **({} if body is None else {"content-type": "application/json"})},
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            trust_env=False,
            verify=_trust(ca_file) if ca_file else True,
        ) as answer:
            for part in answer.iter_bytes():
                content += part
                if len(content) > MAX_ANSWER_BYTES:
                    raise CustodyUnreachable(f"Expected a short answer from {who}, got a long one; see its address.")
            return answer.status_code, content
    except httpx2.InvalidURL:
        raise InvalidSetting(f"Expected an address beginning with https:// for {who}, got another form.") from None
    except (httpx2.HTTPError, OSError) as error:
        raise CustodyUnreachable(f"{who} does not answer ({type(error).__name__}).", hint=_HINT) from None


def _trust(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidSetting(f"Expected certificates in PEM at {ca_file}, got {type(error).__name__}.") from None
