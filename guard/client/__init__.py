"""The SDK: `Client` over HTTP. Needs httpx2 and guard's own wire modules only; imports nothing of the server."""

from guard.client.discovery import Address, discover
from guard.client.session import Client

__all__ = ["Address", "Client", "discover"]
