"""What answers of the server hold besides values: problems, which become the errors that they name."""

from collections.abc import Mapping
from typing import Any

from guard import errors
from guard.errors import GuardError, InternalError

CLASSES: Mapping[str, type[GuardError]] = {
    found.code: found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, GuardError)
}


def only(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one result of a batch of one, or its problem raised."""
    result: Mapping[str, Any] = answer["results"][0]
    if "problem" in result:
        members = result["problem"]
        raise CLASSES.get(members["code"], InternalError)(members["detail"])
    return result
