"""What the catalogue lists of remains: the step of the worker that empties logs and searches files after a destruction.

Law: it is done when the write-ahead logs are empty; until then it is tried again. A mark that is found after that is
counted in the record: a person's id may stand in a legal hold, and a large store is not written anew for a wrap whose
bucket key goes in its time.
"""

from guard.catalogue import Context, Effect, operation
from guard.db import scrub
from guard.errors import StoreUnavailable
from guard.settings import Settings
from guard.vault.forgetting import Forgetting
from guard.wire import subjects as wire


@operation(
    "subjects.scrub",
    None,
    takes=wire.ScrubStores,
    gives=wire.ScrubbedStores,
    effect=Effect.EXTERNAL,
    resource="subjects/all",
)
def scrub_stores(ctx: Context, request: wire.ScrubStores) -> wire.ScrubbedStores:
    """Empty the write-ahead logs after persons were forgotten, and see that nothing of them is left in the files."""
    del request
    remains, settings = ctx.part(Forgetting).remains, ctx.part(Settings)
    marks = remains.take()
    emptied, left = scrub.clear((settings.database, settings.key_store), marks)
    ctx.note(marks=len(marks), remains=left)
    if not emptied:
        remains.again(marks, ctx.now_us)
        raise StoreUnavailable("Expected to empty the write-ahead logs, but a reader is in the way; it is tried again.")
    return wire.ScrubbedStores(marks=len(marks), remains=left)
