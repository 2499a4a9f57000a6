"""The synchronous client: one call per catalogue operation, errors as the classes of `guard.errors`.

Law: a call that fails raises, and never returns its input; what is retried was refused before anything was done
(429, 503) or never sent. Times: 2 s to connect, 30 s for the whole call with its retries.
"""

import base64
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx2

from guard.client.answers import CLASSES, only
from guard.client.discovery import Address, discover
from guard.client.operations import OPERATIONS
from guard.errors import AuditOutcomeUnknown, InternalError, InvalidInput, InvalidSetting, Unreachable

if TYPE_CHECKING:
    from guard.client.files import Files
    from guard.client.local import LocalKeys

CONNECT_SECONDS = 2.0
TOTAL_SECONDS = 30.0
RETRIES = 4
RETRIED = frozenset({429, 503})
LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?(/|$)")
PARAMETER = re.compile(r"\{([a-z_]+)\}")


class Client:
    """`with Client() as g: g.call("keys.rotate", key="customers.email")`, or `g.keys.rotate(key=...)`.

    Without arguments it uses what `discover` finds. Answers are plain dictionaries as in the OpenAPI document.
    `on_receipt(record id, receipt)` is told of each recorded answer, refusals included: who keeps the receipts can
    prove later that a record was left out.
    """

    def __init__(
        self,
        address: Address | None = None,
        *,
        total_seconds: float = TOTAL_SECONDS,
        on_receipt: Callable[[str, str], None] | None = None,
    ) -> None:
        self._on_receipt = on_receipt
        self.address = address or discover()
        if not (self.address.token.isascii() and self.address.token.isprintable()):
            raise InvalidSetting("Expected a token of printable ASCII characters, got others; copy it whole.")
        self._total_seconds = total_seconds
        # On this machine no certificate is checked (loading them takes 50 ms) and no proxy stands in between.
        elsewhere = LOOPBACK.match(self.address.url) is None
        self._http = httpx2.Client(
            base_url=self.address.url,
            headers={"authorization": f"Bearer {self.address.token}"},
            verify=elsewhere,
            trust_env=elsewhere,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give leased keys back, and close the connections."""
        if "local" in vars(self):
            self.local.close()
        self._http.close()

    @cached_property
    def local(self) -> "LocalKeys":
        """Sealing and opening in this process, under leased keys."""
        from guard.client.local import LocalKeys  # noqa: PLC0415 - who only calls needs no cryptography

        return LocalKeys(self.call)

    @cached_property
    def files(self) -> "Files":
        """Sealing and opening files in this process, under leased keys."""
        from guard.client.files import Files  # noqa: PLC0415 - as above

        return Files(self.local)

    def __getattr__(self, noun: str) -> "Noun":
        if noun.startswith("_") or not any(name.startswith(noun + ".") for name in OPERATIONS):
            raise AttributeError(f"The catalogue has no operations on {noun}.")
        return Noun(self, noun)

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """Run *operation* with the given members; those of its path go there, the rest into the body or query.

        Raises:
            GuardError: the class that bears the answer's code; Unreachable where no server answers.
        """
        return _object(self._send(operation, members))

    def download(self, operation: str, **members: Any) -> bytes:
        """As `call`, for an operation whose answer is a file."""
        return self._send(operation, members).content

    def encrypt(self, field: str, value: str, **context: Any) -> str:
        """Seal one text; *context* is `row=` or `subject=`."""
        plaintext = base64.b64encode(value.encode()).decode()
        item = {"field": field, "context": context, "plaintext": plaintext}
        return str(only(self.call("fields.encrypt", items=[item]))["ciphertext"])

    def decrypt(self, field: str, ciphertext: str, purpose: str, **context: Any) -> str:
        """Open one text for a purpose that the field's policy allows."""
        item = {"field": field, "context": context, "ciphertext": ciphertext}
        answer = only(self.call("fields.decrypt", purpose=purpose, items=[item]))
        try:
            return base64.b64decode(answer["plaintext"]).decode()
        except UnicodeDecodeError:
            raise InvalidInput("Expected a value that is UTF-8 text, got other bytes; call fields.decrypt.") from None

    def mask(self, field: str, ciphertext: str, purpose: str = "support", **context: Any) -> str:
        """One text as the field's policy shows it to those who may not read it."""
        item = {"field": field, "context": context, "ciphertext": ciphertext}
        return str(only(self.call("fields.mask", purpose=purpose, items=[item]))["masked"])

    @contextmanager
    def stream(self, operation: str, start: int = 0, /, **members: Any) -> Iterator[httpx2.Response]:
        """As `download`, for a file of any size: the answer with its body unread, from byte *start* on (RFC 9110 14.2).

        Nothing is tried again here; whoever keeps what came can ask for the rest.
        """
        method, path, rest = _target(operation, members)
        headers = {"range": f"bytes={start}-"} if start else {}
        timeout = httpx2.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS)
        try:
            with self._http.stream(method, path, params=rest, headers=headers, timeout=timeout) as answer:
                if not answer.is_success:
                    answer.read()
                    _checked(answer)
                yield answer
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise Unreachable(
                f"Expected a whole file from the guard server at {self.address.url}, but the connection failed "
                f"({type(error).__name__}); try again, what came is kept."
            ) from None

    def _send(self, operation: str, members: Mapping[str, Any]) -> httpx2.Response:
        method, path, rest = _target(operation, members)
        deadline = time.monotonic() + self._total_seconds
        for attempt in range(RETRIES + 1):
            answer = self._attempt(method, path, rest, deadline - time.monotonic())
            pause = _pause(answer, attempt)
            last = attempt == RETRIES or time.monotonic() + pause >= deadline
            self._keep_receipt(answer)
            if answer.status_code not in RETRIED or last or _outcome_unknown(answer):
                return _checked(answer)
            time.sleep(pause)
        raise InternalError("The retry loop of the client ended without an answer.")

    def _keep_receipt(self, answer: httpx2.Response) -> None:
        if self._on_receipt is not None and "guard-audit-receipt" in answer.headers:
            self._on_receipt(answer.headers["guard-audit-id"], answer.headers["guard-audit-receipt"])

    def _attempt(self, method: str, path: str, rest: Mapping[str, Any], left_seconds: float) -> httpx2.Response:
        timeout = httpx2.Timeout(left_seconds, connect=min(CONNECT_SECONDS, left_seconds))
        try:
            if method == "GET":
                return self._http.request(method, path, params=rest, timeout=timeout)
            return self._http.request(method, path, json=rest, timeout=timeout)
        except UnicodeEncodeError:
            raise InvalidInput("Expected text that is valid Unicode, got a lone surrogate; correct it.") from None
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise Unreachable(
                f"Expected a guard server at {self.address.url}, but the connection failed "
                f"({type(error).__name__}); start it, or correct the address."
            ) from None


class Noun:
    """The operations on one noun: `client.keys.rotate(key=...)`."""

    def __init__(self, client: Client, noun: str) -> None:
        self._client = client
        self._noun = noun

    def __getattr__(self, verb: str) -> Any:
        name = f"{self._noun}.{verb}"
        if name not in OPERATIONS:
            raise AttributeError(f"The catalogue has no operation {name}.")
        return lambda **members: self._client.call(name, **members)


def _target(operation: str, members: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Method and path of an operation, and the members that go into its body or query."""
    if operation not in OPERATIONS:
        raise InvalidInput(f"Expected the name of an operation, got {operation!r}; see /openapi.json.")
    method, template = OPERATIONS[operation]
    names = PARAMETER.findall(template)
    missing = [name for name in names if name not in members]
    if missing:
        raise InvalidInput(f"Expected {', '.join(missing)} for {operation}; add it.")
    path = template.format_map({name: quote(str(members[name]), safe="", errors="surrogatepass") for name in names})
    return method, path, {name: value for name, value in members.items() if name not in names and value is not None}


def _checked(answer: httpx2.Response) -> httpx2.Response:
    if answer.is_success:
        return answer
    members = _object(answer)
    if not isinstance(members.get("code"), str) or not isinstance(members.get("detail"), str):
        raise InternalError(f"Expected a guard server, got status {answer.status_code} without a problem.")
    kind = CLASSES.get(members["code"], InternalError)
    known = {"type", "title", "status", "detail", "code", "hint"}
    extra = {name: value for name, value in members.items() if name not in known}
    raise kind(members["detail"], hint=members.get("hint", ""), **extra)


def _object(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InternalError(f"Expected a guard server, got status {answer.status_code} without a JSON object.")
    return found


def _outcome_unknown(answer: httpx2.Response) -> bool:
    return AuditOutcomeUnknown.code.encode() in answer.content


def _pause(answer: httpx2.Response, attempt: int) -> float:
    """Full jitter below the server's Retry-After, or a doubling 50 ms."""
    asked = answer.headers.get("retry-after", "")
    ceiling = float(asked) if asked.isdecimal() else 0.05 * 2**attempt
    return ceiling * (0.5 + secrets.randbelow(512) / 1024)
