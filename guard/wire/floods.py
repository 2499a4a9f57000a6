"""Wire models of refused log-ins that are recorded together."""

from typing import Annotated

from pydantic import Field

from guard.wire.model import MAX_INTEGER, Model


class MergeRefusals(Model):
    """So many refusals of one source in the second that begins then."""

    peer: Annotated[str, Field(max_length=128)]
    second_us: Annotated[int, Field(ge=0, le=MAX_INTEGER)]
    count: Annotated[int, Field(ge=1, le=MAX_INTEGER)]
