"""What is settled before a body is read: request id, API key, size; and what is counted after."""

from __future__ import annotations

import asyncio
import re
import secrets
from time import monotonic

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tascel.serve.access import Access
from tascel.serve.errors import ApiError, Gone
from tascel.serve.limits import Limits
from tascel.serve.metrics import Metrics

_ID = re.compile(r"[!-~]{1,128}")
_ROUTES = frozenset(
    (
        "/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/samples", "/health",
        "/metrics", "/",
    )
)  # fmt: skip
#: Where the scope says whose the request is.
TENANT = "tascel.tenant"
#: How a client that hung up before its answer is counted; no response has this status.
_HUNG_UP = 499


class Gate:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, limits: Limits, access: Access) -> None:
        self._app, self._metrics, self._limits, self._access = app, metrics, limits, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entry point."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(16)
        started, status = monotonic(), _HUNG_UP

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            given = Headers(scope=scope).get("authorization", "")
            scope[TENANT] = self._access.admit(scope["path"], given)
            body = await self._read(scope, receive)
            await self._app(scope, _replay(body, receive), sending)
        except ApiError as error:
            await error.response()(scope, receive, sending)
        except Gone:
            pass
        finally:
            route = scope["path"] if scope["path"] in _ROUTES else "other"
            self._metrics.responded(route, status, monotonic() - started)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The body, if it comes in time and is not too long."""
        length = Headers(scope=scope).get("content-length", "")
        announced = int(length) if length.isdecimal() else 0
        body, more = bytearray(), True
        while more and max(len(body), announced) <= self._limits.body:
            try:
                async with asyncio.timeout(self._limits.stall):
                    message = await receive()
            except TimeoutError:
                raise ApiError(408, "The body does not come.") from None
            if message["type"] == "http.disconnect":
                raise Gone
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if max(len(body), announced) > self._limits.body:
            raise ApiError(413, f"A body may have at most {self._limits.body} bytes.")
        return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body at once, and then goes on as the server's own."""
    read = False

    async def replayed() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
