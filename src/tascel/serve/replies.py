"""What the server sends, in OpenAI's shapes. Written out without the fields that were not set."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Finish = Literal["stop", "length", "tool_calls"]


class Drafted(BaseModel):
    """Drafted tokens of one source: how many were checked, how many written."""

    offered: int
    accepted: int


class Written(BaseModel):
    """A token of the answer: the text that became certain with it, who drafted it (`model` if
    nobody had), and the pass that wrote it, counted from 0."""

    text: str
    source: str
    step: int


class ExtrasReply(BaseModel):
    """What tascel adds on request: with `tokens` those that are new, with `stats` at the end what
    the answer cost: passes, wall-clock seconds, tokens, drafts by source."""

    written: list[Written] | None = None
    steps: int | None = None
    prefill_seconds: float | None = None
    decode_seconds: float | None = None
    tokens: int | None = None
    drafted: dict[str, Drafted] | None = None


class PromptDetails(BaseModel):
    """Prompt tokens that did not have to be read, since another request had."""

    cached_tokens: int


class CompletionDetails(BaseModel):
    """How the tokens of `prediction` fared that were checked."""

    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class Usage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class TopLogprob(BaseModel):
    """A likely token in a place."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A written token, and the likeliest ones in its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """An entry for each written token but the end of the turn."""

    content: list[TokenLogprob]


class FunctionCall(BaseModel):
    """The function, and its arguments as JSON text; both come piece by piece in a stream."""

    name: str | None = None
    arguments: str = ""


class ToolCall(BaseModel):
    """A call of a tool; `index` only in a stream."""

    index: int | None = None
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionCall


class ChatMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    """One of `n` answers."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Finish
    tascel: ExtrasReply | None = None


class ChatCompletion(BaseModel):
    """The reply to a chat request."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Delta(BaseModel):
    """What a stream adds to a message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class ChunkChoice(BaseModel):
    """What a stream adds to one of `n` answers."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: Finish | None
    tascel: ExtrasReply | None = None


class ChatChunk(BaseModel):
    """One event of a chat stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class TextLogprobs(BaseModel):
    """Columns with an entry for each written token but the end of the answer."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(BaseModel):
    """One answer, or what a stream adds to it."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    tascel: ExtrasReply | None = None


class TextCompletion(BaseModel):
    """The reply to a completion request, or one event of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int


class ModelList(BaseModel):
    """The models that are served."""

    object: Literal["list"]
    data: list[ModelCard]


class SampleTurn(BaseModel):
    """A turn of a sample prompt."""

    model_config = ConfigDict(frozen=True)
    role: str
    content: str


class Sample(BaseModel):
    """A prompt that the bundle has learned from, and what its trace calls the task."""

    messages: list[SampleTurn]
    task: str | None


class SampleList(BaseModel):
    """Prompts to try."""

    object: Literal["list"]
    data: list[Sample]


class Health(BaseModel):
    """Whether requests are taken, and how many are under way."""

    status: Literal["ok", "draining", "failed"]
    running: int
    waiting: int


class ErrorDetail(BaseModel):
    """What went wrong; `param` names the field, `code` the kind."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    """OpenAI's shape of an error."""

    error: ErrorDetail
