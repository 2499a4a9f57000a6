"""The form that all wire models share, and the names and patterns that more than one of them uses.

Law: frozen, `extra="forbid"`, strict types. No wire model has floats; times are integer microseconds UTC (`*_us`).
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Lower-case name, 1-64 characters.")]
Identifier = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:|@-]{0,127}$", description="Id, 1-128 characters.")
]
Tenant = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Tenant id, 1-63 characters.")]
AnyTenant = Annotated[
    Tenant | Literal["~"], Field(description="A tenant, or ~ for the caller's own. Others need a platform role.")
]
FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}$", description="table.column")]
Text = Annotated[str, Field(max_length=2000, description="Free text, at most 2000 characters.")]
MAX_INTEGER = 2**53 - 1  # what every JSON reader holds exactly (RFC 8785 section 3.2.2.3), and every column and record
Limit = Annotated[int, Field(ge=1, le=500, description="Page size, at most 500.")]


class Model(BaseModel):
    """A frozen wire model; unknown members and coerced types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Nothing(Model):
    """An operation that takes nothing, or has nothing to say beyond its success."""


class Attachment(Model):
    """A file as an answer; the API streams it, and `sha256` is its ETag. `path` never leaves the process."""

    path: str = Field(exclude=True)
    file_name: str
    media_type: str
    sha256: str = ""
    documented: ClassVar[str] = "application/zip"  # its media type in OpenAPI


class Content(Model):
    """Bytes as an answer, in the form that another standard gives them, and how long a cache may keep them."""

    content: bytes = Field(exclude=True)
    media_type: str
    cache: str
    documented: ClassVar[str] = "application/octet-stream"


class Download(Attachment):
    """A file whose media type depends on what was asked for."""

    documented: ClassVar[str] = "*/*"
