"""What clients may send: OpenAI's fields as far as they are honoured, and a few of our own.

A field that is not named here is refused, and so is a value of the wrong type: to ignore it would
be to answer another question. Only messages and tools may have more keys; they go to the chat
template as they were sent. `null` always means the default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tascel.serve.sent import FewKeys, Many, Passed, Sent, Some

Tokens = Field(min_length=1, max_length=1 << 20, fail_fast=True)
Stop = Annotated[str, Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Top = Annotated[int, Field(ge=0, le=20)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
IdText = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class Part(Sent):
    """A part of a message; only text is read."""

    type: Literal["text"]
    text: str


class CalledFunction(Passed):
    """What an earlier answer called."""

    name: str
    arguments: str


class Call(Passed):
    """A tool call in an earlier answer."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Passed):
    """A turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Many] | None = None
    name: str | None = None
    tool_calls: Annotated[list[Call], Many] | None = None
    tool_call_id: str | None = None


class Function(Passed):
    """A function that may be called; `parameters` is a JSON schema."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Passed):
    """A tool that may be called."""

    type: Literal["function"]
    function: Function


class Named(Sent):
    """The name of a function."""

    name: Name


class ToolChoice(Sent):
    """The one function that must be called."""

    type: Literal["function"]
    function: Named


class NamedSchema(Sent):
    """A JSON schema for the answer."""

    name: Name
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextFormat(Sent):
    """Any text."""

    type: Literal["text"]


class JsonFormat(Sent):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Sent):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


Format = Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")]


class Structured(Sent):
    """vLLM's extension: the whole answer must match this regular expression."""

    regex: Annotated[str, Field(min_length=1, max_length=10_000)]


class Prediction(Sent):
    """What the answer is expected to be: a source of drafts, never of content."""

    type: Literal["content"]
    content: str | Annotated[list[Part], Many]


class StreamOptions(Sent):
    """What a stream carries beside the answer."""

    include_usage: bool | None = None


class Extras(Sent):
    """What only tascel does: tell what an answer cost, and its tokens; decode it plainly."""

    stats: bool = False
    tokens: bool = False
    drafts: bool = True


class Asked(Sent):
    """What both kinds of completion share."""

    model: str | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    logit_bias: Annotated[dict[IdText, Bias], FewKeys] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16, fail_fast=True)] | None = None
    n: Count | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    prediction: Prediction | None = None
    response_format: Format | None = None
    structured_outputs: Structured | None = None
    task: Annotated[str, Field(max_length=200)] | None = None
    tascel: Extras | None = None
    user: str | None = Field(default=None, description="Read and ignored.")
    metadata: Annotated[dict[str, str], FewKeys] | None = Field(
        default=None, description="Read and ignored."
    )

    @property
    def choices(self) -> int:
        """How many answers each prompt gets."""
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall end with its usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def wants_json(self) -> bool:
        """Whether `response_format` asks for more than text."""
        return self.response_format is not None and self.response_format.type != "text"

    @property
    def extras(self) -> Extras:
        """What is asked of tascel alone."""
        return self.tascel or Extras()

    @model_validator(mode="after")
    def _shared_fields_fit_together(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("`stream_options` is only allowed with `stream`: true")
        if self.structured_outputs is not None and self.wants_json:
            raise ValueError("`structured_outputs` cannot be combined with `response_format`")
        return self


class ChatRequest(Asked):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Some]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Top | None = None
    tools: Annotated[list[Tool], Many] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    safety_identifier: str | None = Field(default=None, description="Read and ignored.")
    prompt_cache_key: str | None = Field(default=None, description="Read and ignored.")

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("`top_logprobs` is only allowed with `logprobs`: true")
        named = {tool.function.name for tool in self.tools or ()}
        if self.tool_choice not in (None, "none") and not named:
            raise ValueError("`tool_choice` is only allowed with `tools`")
        if isinstance(self.tool_choice, ToolChoice) and self.tool_choice.function.name not in named:
            raise ValueError("`tool_choice` names a function that is not in `tools`")
        if self.callable and (self.wants_json or self.structured_outputs is not None):
            raise ValueError("a format cannot be combined with `tools` that may be called")
        return self

    @property
    def callable(self) -> list[Tool]:
        """The tools that the answer may call."""
        return [] if self.tool_choice == "none" else self.tools or []


class TextRequest(Asked):
    """The body of `POST /v1/completions`."""

    prompt: (
        str
        | Annotated[list[str], Some]
        | Annotated[list[TokenId], Tokens]
        | Annotated[list[Annotated[list[TokenId], Tokens]], Some]
    )
    logprobs: Top | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None

    def prompts(self) -> list[str | list[int]]:
        """One prompt a completion, text or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[id_ for id_ in self.prompt if isinstance(id_, int)]]
        return [one for one in self.prompt if not isinstance(one, int)]
