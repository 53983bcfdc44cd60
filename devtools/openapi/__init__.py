"""OpenAPI 3.1 of the HTTP interfaces: what is served, with bodies and errors."""

from __future__ import annotations

from typing import Final

from devtools.openapi.document import Server
from devtools.openapi.public_paths import PUBLIC
from devtools.openapi.region_paths import VIEWS
from devtools.openapi.worker_paths import WORKER

#: File → server.
SERVERS: Final[dict[str, Server]] = {
    "openapi.views.json": VIEWS,
    "openapi.public.json": PUBLIC,
    "openapi.worker.json": WORKER,
}
