"""What the catalogue lists of the static prefix `/guard/<log>/`: checkpoint, hash tiles and entry bundles.

Law: nothing wider than the published checkpoint is served. Hashes say nothing of what they hash, since every body is
salted, so they may be public and are not recorded; entries name actors and resources of every tenant, so they are for
the platform's auditors, and each bundle that one reads is a record.
Source: c2sp.org/tlog-tiles (paths, media types, immutability).
"""

from guard.audit import checkpoint_store, store
from guard.audit.log import Log
from guard.audit.tiles import WIDTH, Tile, encode_bundle, parse_path, tile_bytes, width_of
from guard.catalogue import PLATFORM, Context, Effect, operation
from guard.errors import InvalidInput, NotFound
from guard.settings import Settings
from guard.wire import tiles as wire

NOTE = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
AGAIN = "no-cache"
FOREVER = "max-age=31536000, immutable"  # a year, the most that caches honour


@operation(
    "heads.read",
    "GET /guard/{log}/checkpoint",
    takes=wire.ReadHead,
    gives=wire.SignedNote,
    effect=Effect.READ,
    resource="audit/all/tiles",
    exempt="monitors poll it, and a record of each look would make the log feed itself",
    public=True,
)
def read_head(ctx: Context, request: wire.ReadHead) -> wire.SignedNote:
    """Give the latest published checkpoint as a signed note, with the cosignatures that are known of it."""
    _of(ctx, request.log)
    size, note = _published(ctx)
    text = checkpoint_store.cosigned(ctx.tx, size, note)
    return wire.SignedNote(content=text.encode(), media_type=NOTE, cache=AGAIN)


@operation(
    "tiles.read",
    "GET /guard/{log}/tile/{level}/{tile}",
    takes=wire.ReadTile,
    gives=wire.TileBytes,
    effect=Effect.READ,
    resource="audit/all/tiles",
    exempt="hashes of salted records say nothing of them, and a record of each look would make the log feed itself",
    public=True,
)
def read_tile(ctx: Context, request: wire.ReadTile) -> wire.TileBytes:
    """Give the hashes of a tile, as far as the published checkpoint reaches."""
    tile = _asked(ctx, request.log, f"tile/{request.level}/{request.tile}")
    hashes = ctx.part(Log).reader(ctx.tx).hashes(tile.level or 0, tile.n)[: tile.width]
    return _answer(tile, tile_bytes(hashes), "public" if ctx.part(Settings).public_log else "private")


@operation(
    "bundles.read",
    "GET /guard/{log}/tile/entries/{tile}",
    takes=wire.ReadBundle,
    gives=wire.TileBytes,
    effect=Effect.READ,
    resource="audit/all/bundles",
)
def read_bundle(ctx: Context, request: wire.ReadBundle) -> wire.TileBytes:
    """Give the entries of a bundle, as far as the published checkpoint reaches."""
    if ctx.tenant != PLATFORM:
        raise NotFound("The whole log holds every tenant's records, so only the platform's auditors read it.")
    tile = _asked(ctx, request.log, f"tile/entries/{request.tile}")
    ctx.note(first=tile.start, count=tile.width)
    entries = ctx.part(Log).reader(ctx.tx).entries(tile.start, tile.start + tile.width)
    return _answer(tile, encode_bundle(entries), "private")  # a shared cache would read on without a record


def _of(ctx: Context, name: str) -> None:
    here = ctx.part(Log).origin.rpartition("/")[2]
    if name != here:
        raise NotFound(f"Expected the log {here} in the path, got another; its origin is {ctx.part(Log).origin}.")


def _published(ctx: Context) -> tuple[int, str]:
    found = store.last_checkpoint(ctx.tx, ctx.part(Log).origin)
    if found is None:
        raise NotFound("Expected a signed checkpoint, got none yet; try again in a second.")
    return found[0].checkpoint.size, found[1]


def _asked(ctx: Context, name: str, path: str) -> Tile:
    """The tile of a path, which the published checkpoint covers.

    Raises:
        NotFound: it does not, or no tile has this path.
    """
    _of(ctx, name)
    try:
        tile = parse_path(path)
    except InvalidInput as error:
        raise NotFound(error.detail) from None
    size, _ = _published(ctx)
    if tile.width > width_of(tile.level or 0, size, tile.n):
        raise NotFound(f"Expected a tile of the published checkpoint, whose size is {size}, got one beyond it.")
    return tile


def _answer(tile: Tile, content: bytes, who: str) -> wire.TileBytes:
    return wire.TileBytes(
        content=content, media_type=BYTES, cache=f"{who}, {FOREVER}" if tile.width == WIDTH else AGAIN
    )
