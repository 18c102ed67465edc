"""Every error in OpenAI's shape, whatever raised it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tascel.errors import RequestError, TascelError
from tascel.serve.replies import ErrorDetail, ErrorReply

_log = logging.getLogger(__name__)


class ApiError(Exception):
    """An error as the client sees it: HTTP status, OpenAI's `type`, `param` and `code`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})
        super().__init__(message)

    @property
    def body(self) -> str:
        """The error as JSON."""
        kind = _TYPES.get(self.status) or (
            "server_error" if self.status >= 500 else "invalid_request_error"
        )
        detail = ErrorDetail(message=self.message, type=kind, param=self.param, code=self.code)
        return ErrorReply(error=detail).model_dump_json()

    def response(self) -> Response:
        """The whole response."""
        return Response(self.body, self.status, self.headers, "application/json")


class Gone(Exception):
    """The client hung up, or left its buffer standing full: there is nobody to tell."""


_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


def as_api_error(error: Exception) -> ApiError:
    """What a client may know of `error`. What is not the client's fault is logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestError):
        return ApiError(400, str(error))
    if isinstance(error, TascelError):
        return ApiError(500, str(error), code="engine_error")
    _log.error("a request failed", exc_info=error)
    return _internal()


def install(app: FastAPI) -> None:
    """Let `app` answer every error in OpenAI's shape."""

    async def ours(request: Request, error: Exception) -> Response:
        return as_api_error(error).response()

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _invalid(error).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return ApiError(error.status_code, str(error.detail), headers=error.headers).response()

    async def unforeseen(request: Request, error: Exception) -> Response:
        return _internal().response()  # uvicorn logs it

    app.add_exception_handler(Exception, unforeseen)
    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(TascelError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _internal() -> ApiError:
    return ApiError(500, "The server made an error and goes on; its log says more.")


def _invalid(error: RequestValidationError) -> ApiError:
    """What is wrong with a body, as one sentence that names the field."""
    found = [
        (_field(cast(Sequence[str | int], one["loc"])[1:], error.body), one)
        for one in cast(Sequence[Mapping[str, Any]], error.errors())
    ]
    # Of the members of a union the one that was meant is the one that got furthest.
    where, worst = max(found, key=lambda pair: pair[0].count("."))
    kind, said = str(worst["type"]), str(worst["msg"])
    if kind == "json_invalid":
        return ApiError(400, f"The body is not JSON: {worst['ctx']['error']}", code="invalid_json")
    if kind == "extra_forbidden":
        return ApiError(
            400, f"Unknown or unsupported field: {where}", param=where, code="unknown_parameter"
        )
    said = said.removeprefix("Value error, ")
    return ApiError(400, f"{where}: {said}" if where else said, param=where or None)


def _field(path: Sequence[str | int], body: Any) -> str:
    """The path of a field in `body`; pydantic's own also names the members of unions."""
    kept: list[str] = []
    for step in path:
        if isinstance(body, dict) and step in body:
            body = cast(dict[Any, Any], body)[step]
        elif isinstance(body, list) and isinstance(step, int) and step < len(cast(Any, body)):
            body = cast(list[Any], body)[step]
        elif step is not path[-1] or not isinstance(body, dict):
            continue  # a member of a union, or of a wrong type
        kept.append(str(step))
    return ".".join(kept)
