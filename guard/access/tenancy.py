"""Which tenant a request is about."""

from guard.access import store
from guard.catalogue import PLATFORM, Context
from guard.errors import NotFound


def existing_tenant(ctx: Context, asked: str) -> str:
    """As `Context.tenant_for`, for a tenant that must exist.

    Raises:
        NotFound: it does not, or the caller may not name it.
    """
    tenant = ctx.tenant_for(asked)
    if tenant != PLATFORM and not store.has_tenant(ctx.tx, tenant):
        raise NotFound(f"Expected an existing tenant, got {tenant}; create it first.")
    return tenant
