"""The page at `/`: a playground and live charts. Its files talk to this server alone."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).parent / "page"
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}
#: Nothing but these files runs or is shown, whatever text an answer has; no other site frames it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page() -> APIRouter:
    """The page's routes; not part of the API that is described."""
    router = APIRouter(include_in_schema=False)
    files = {path.name: path for path in FOLDER.iterdir() if path.suffix in _TYPES}

    def reply(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        path = files[name]
        return Response(path.read_bytes(), headers=_HEADERS, media_type=_TYPES[path.suffix])

    @router.get("/")
    def index() -> Response:
        return reply("index.html")

    @router.get("/page/{name}")
    def file(name: str) -> Response:
        return reply(name)

    return router
