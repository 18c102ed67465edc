"""The routes. What they take is in schema.py, what they give in replies.py."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import from_json

from tascel.serve import ask, errors
from tascel.serve.access import Access
from tascel.serve.ask import Served
from tascel.serve.chat import Chat
from tascel.serve.gate import TENANT, Gate
from tascel.serve.learning import Learning, learners
from tascel.serve.metrics import Metrics
from tascel.serve.replies import (
    ChatCompletion,
    ErrorReply,
    Health,
    ModelCard,
    ModelList,
    SampleList,
    TextCompletion,
)
from tascel.serve.reply import Reply
from tascel.serve.samples import asked_here, samples
from tascel.serve.schema import ChatRequest, TextRequest
from tascel.serve.service import Service
from tascel.serve.static import page
from tascel.serve.text import Text

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorReply, "description": "What is wrong with the request."},
    "5XX": {"model": ErrorReply, "description": "The server cannot answer now."},
}
_EVENT = {
    "type": "object",
    "properties": {
        "data": {"type": "string", "description": "A piece of the answer as JSON; last `[DONE]`."}
    },
    "required": ["data"],
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, or with `stream` server-sent events of its pieces.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    }
}


class StrictRequest(Request):
    """Reads JSON as the standard has it: no NaN, no half characters, no bottomless nesting."""

    async def json(self) -> Any:
        """The body, decoded.

        Raises:
            JSONDecodeError: it is not JSON.
        """
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None


class StrictRoute(APIRoute):
    """A route whose body is read by `StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's hook for how a request is handled."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


class App:
    """A model behind HTTP: `app.asgi` is what a server runs, `app.service` what it drains."""

    def __init__(self, served: Served, access: Access | None = None) -> None:
        access = access or Access()
        metrics = Metrics()
        if drafts := learners(served.runner):
            metrics.add(Learning(drafts))
        self.service = service = Service(served.runner, served.limits, metrics)

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
            service.start()
            yield
            await service.stop()

        api = FastAPI(
            title="tascel", version="1", lifespan=lifespan, docs_url=None, redoc_url=None,
            responses=_ERRORS,
        )  # fmt: skip
        errors.install(api)
        api.include_router(_v1(served, service, access))
        api.include_router(_open(service))
        if served.page:
            api.include_router(page())
        self.asgi = Gate(api, metrics, served.limits, access)


def _v1(served: Served, service: Service, access: Access) -> APIRouter:
    """What OpenAI's clients call."""
    # The gate checks the key; this only says in the description that there is one.
    needs_key = [Depends(HTTPBearer(auto_error=False))] if access.guarded else []
    router = APIRouter(prefix="/v1", route_class=StrictRoute, dependencies=needs_key)

    @router.post("/chat/completions", response_model=ChatCompletion, responses=_STREAM)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        return Reply(service, Chat(body, served, request.scope[TENANT]), bool(body.stream))

    @router.post("/completions", response_model=TextCompletion, responses=_STREAM)
    async def completions(body: TextRequest, request: Request) -> Response:
        return Reply(service, Text(body, served, request.scope[TENANT]), bool(body.stream))

    @router.get("/models")
    async def models() -> ModelList:
        return ModelList(object="list", data=[_card(served)])

    @router.get("/models/{model:path}")
    async def model(model: str) -> ModelCard:
        if model != served.name:
            raise ask.unknown_model(model, served)
        return _card(served)

    @router.get("/samples")
    def sample_prompts(request: Request) -> SampleList:
        shown = served.samples and (access.guarded or asked_here(request.headers))
        found = samples(served.runner, request.scope[TENANT]) if shown else []
        return SampleList(object="list", data=found)

    return router


def _open(service: Service) -> APIRouter:
    """What monitors ask; needs no key."""
    router = APIRouter()

    @router.get("/health", responses={503: {"model": Health, "description": "Send nothing here."}})
    async def health(response: Response) -> Health:
        status = service.status
        if status != "ok":
            response.status_code = 503
        worker = service.worker
        return Health(status=status, running=worker.running, waiting=service.waiting)

    @router.get("/metrics", responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}})
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def _card(served: Served) -> ModelCard:
    return ModelCard(
        id=served.name,
        object="model",
        created=served.created,
        owned_by="tascel",
        max_model_len=served.runner.engine.context_limit,
    )
