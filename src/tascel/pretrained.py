"""What transformers knows of a model's tokenizer: ids, chat template, what ends an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from tascel.errors import ModelError, RequestError
from tascel.new_tokens import NewTokens
from tascel.token_bytes import TokenBytes
from tascel.types import Message

#: Where tokenizer_config.json keeps the runs that new tokens stand for. In that file, since
#: transformers keeps what it does not know there whenever a tokenizer is saved or shared.
NEW_TOKENS = "tascel_new_tokens"
Render = Callable[[Sequence[Message], Sequence[Message] | None, bool], str]


class Parts(NamedTuple):
    """A backend without padding and truncation; the chat template, if there is one; every id that
    ends an answer; how to save it all; what new tokens stand for."""

    tokenizer: Tokenizer
    render: Render | None
    eos_ids: set[int]
    save: Callable[[Path], None]
    new_tokens: NewTokens


def read(name: str) -> Parts:
    """The parts of a model folder, a bundle's tokenizer folder or a Hugging Face id.

    Raises:
        ModelError: nothing there, or no fast tokenizer can be made of it.
    """
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            "reading a model's tokenizer needs transformers", "pip install 'tascel[hf]'"
        ) from error
    auto: Any = transformers  # untyped
    try:
        hf: Any = auto.AutoTokenizer.from_pretrained(name)
    except Exception as error:  # tokenizers raises bare Exceptions
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"no tokenizer can be loaded from {name} ({first})",
            "Give a Hugging Face id or a folder with tokenizer.json and tokenizer_config.json",
        ) from error
    try:
        generation: Any = auto.GenerationConfig.from_pretrained(name)
    except (OSError, ValueError):
        generation = None
    return parts(hf, generation)


def parts(hf: Any, generation: Any) -> Parts:
    """The parts of a tokenizer that is loaded, and of a model's generation config or None.

    Raises:
        ModelError: it is no fast tokenizer.
    """
    if not hf.is_fast:
        name = hf.name_or_path or type(hf).__name__
        raise ModelError(f"{name} has no fast tokenizer", "Convert it to a tokenizer.json first")
    listed: Any = getattr(generation, "eos_token_id", None)
    ids: list[Any] = [*(listed if isinstance(listed, list) else [listed]), hf.eos_token_id]
    eos = {int(id_) for id_ in ids if id_ is not None}

    def render(messages: Sequence[Message], tools: Sequence[Message] | None, generate: bool) -> str:
        from jinja2 import TemplateError

        plain = [dict(_arguments_as_objects(m)) for m in messages]
        try:
            return str(
                hf.apply_chat_template(
                    plain,
                    tools=[dict(t) for t in tools] if tools else None,
                    add_generation_prompt=generate,
                    tokenize=False,
                )
            )
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            raise RequestError(
                f"the chat template refuses the conversation ({error})",
                "Check roles, contents and tools against what the model expects",
            ) from error

    def save(folder: Path) -> None:
        hf.save_pretrained(folder)
        if generation is not None:
            generation.save_pretrained(folder)

    # A working copy without the padding and truncation that a tokenizer file may carry.
    backend = Tokenizer.from_str(hf.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    new_tokens = _new_tokens(hf, backend)
    return Parts(backend, render if hf.chat_template else None, eos, save, new_tokens)


def _arguments_as_objects(message: Message) -> Mapping[str, Any]:
    """Tool-call arguments as an object: logs hold them as a JSON string, templates want a dict."""
    calls = message.get("tool_calls")
    if not calls:
        return message

    def parsed(call: Any) -> Any:
        function = dict(call.get("function", {}))
        if isinstance(function.get("arguments"), str):
            try:
                function["arguments"] = json.loads(function["arguments"])
            except json.JSONDecodeError:
                return call
        return {**call, "function": function}

    return {**message, "tool_calls": [parsed(call) for call in calls]}


def _new_tokens(hf: Any, backend: Tokenizer) -> NewTokens:
    """What a tokenizer's configuration says of new tokens, checked against its vocabulary."""
    new = NewTokens.from_json(hf.init_kwargs.get(NEW_TOKENS) or {})
    bytes_of = TokenBytes(backend)
    for id_, run in new.runs.items():
        said = [bytes_of(base) for base in run]
        if b"" in said or b"".join(said) != bytes_of(id_):
            name = hf.name_or_path or type(hf).__name__
            raise ModelError(
                f"new token {id_} of {name} is not what its tokenizer_config.json says",
                "Take tokenizer.json and tokenizer_config.json from the same folder",
            )
    return new
