"""Text to ids and back: the one owner of tokenisation.

Prompts are rendered by the model's own chat template exactly as at generation, answers end with the
id that ends the model's turn, and the streaming detokenizer never splits a character.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tascel.errors import ModelError, RequestError, TraceError
from tascel.types import Ids, Message, Trace

#: Mixed scripts, digits, spaces and code: two tokenizers that agree here and in every vocabulary
#: entry are the same for our purposes, whatever their files look like.
_PROBE = (
    "Hello  wörld!\n\t{\"a_b\": [-12.50, '\u4f60\u597d'], 🙂 x = f(y) // 2026-01-31 İstanbul   "
)
_REPLACEMENT = "\ufffd"

Render = Callable[[Sequence[Message], Sequence[Message] | None, bool], str]


class Codec:
    """A tokenizer with its chat template. Make one with `from_pretrained`.

    Attributes:
        eos_ids: every id that ends an answer.
        end_id: the id that ends the model's turn in its template; answers close with it.
        fingerprint: the same for two tokenizers that write the same ids, hex.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        render: Render | None,
        eos_ids: Iterable[int],
        save: Callable[[Path], None] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.eos_ids = frozenset(eos_ids)
        if not self.eos_ids:
            raise ModelError(
                "the tokenizer names no end-of-sequence token",
                "Set eos_token in its tokenizer_config.json or eos_token_id in generation_config",
            )
        self._render = render
        self._save = save
        self.vocab_size = tokenizer.get_vocab_size(with_added_tokens=True)
        self.fingerprint = _fingerprint(tokenizer)
        self.end_id = self._turn_end()

    @staticmethod
    def from_pretrained(model: str | Path) -> Codec:
        """The codec of a model folder, a bundle's tokenizer folder or a Hugging Face id.

        Raises:
            ModelError: nothing there, or no fast tokenizer can be made of it.
        """
        return _from_transformers(str(model))

    def prompt(
        self, messages: str | Sequence[Message], tools: Sequence[Message] | None = None
    ) -> Ids:
        """The ids the model reads before it answers: i32[n].

        A string is one user message. Without a chat template the text itself is the prompt.

        Raises:
            RequestError: the template refuses the conversation.
        """
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        if self._render is None:
            if tools:
                raise RequestError(
                    "the model has no chat template to show tools in", "Leave out `tools`"
                )
            text = "\n".join(str(m.get("content") or "") for m in messages)
            return _ids(self.tokenizer.encode(text).ids)
        text = self._render(messages, tools, True)
        return _ids(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def output(self, text: str) -> Ids:
        """The ids of an answer as the model would write it, without the closing id: i32[m]."""
        return _ids(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def answer(self, trace: Trace) -> Ids:
        """The ids of a trace's answer, tool calls included, closed with `end_id`: i32[m].

        Raises:
            TraceError: the template cannot write this answer.
        """
        return np.append(self.output(self._answer_text(trace)), np.int32(self.end_id))

    def answers(self, traces: Iterable[Trace]) -> Iterator[Ids]:
        """`answer` of many traces, tokenised in batches on all cores."""
        stream = iter(traces)
        while batch := list(islice(stream, 1024)):
            texts = [self._answer_text(trace) for trace in batch]
            for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False):
                yield _ids([*encoding.ids, self.end_id])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer, special tokens left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def stream(self) -> Detokenizer:
        """A detokenizer for one answer."""
        return Detokenizer(self.tokenizer)

    def save(self, folder: Path) -> None:
        """Write the tokenizer so that `from_pretrained` reads it back."""
        if self._save is None:
            raise ModelError("this tokenizer cannot be saved", "Load it with Codec.from_pretrained")
        self._save(folder)

    def _answer_text(self, trace: Trace) -> str:
        answer = trace.answer
        if answer is None:
            raise TraceError("a trace has no answer", "Give it an `output` or an assistant turn")
        if not answer.get("tool_calls"):
            return str(answer.get("content") or "")
        if self._render is None:
            raise TraceError(
                "a trace has tool calls and the model no chat template to write them with",
                "Use a model with a tool template, or put the calls into `output` as text",
            )
        return self._turn([*trace.messages], answer, trace.tools)

    def _turn(
        self, messages: list[Message], answer: Message, tools: Sequence[Message] | None
    ) -> str:
        """What the template writes for `answer`, up to the id that ends the turn."""
        assert self._render is not None
        before = self._render(messages, tools, True)
        after = self._render([*messages, answer], tools, False)
        if not after.startswith(before):
            before = self._render(messages, tools, False)
        turn = self.tokenizer.encode(after[len(before) :], add_special_tokens=False)
        for id_, (start, _) in zip(turn.ids, turn.offsets, strict=True):
            if id_ in self.eos_ids:
                return after[len(before) : len(before) + start]
        return after[len(before) :]

    def _turn_end(self) -> int:
        fallback = min(self.eos_ids)
        if self._render is None:
            return fallback
        user = {"role": "user", "content": "a"}
        try:
            text = self._render([user, {"role": "assistant", "content": "b"}], None, False)
        except RequestError:
            return fallback
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return next((i for i in reversed(ids) if i in self.eos_ids), fallback)


class Detokenizer:
    """Turns one answer's ids into text as they come; holds back characters not yet complete.

    Decodes a short window of ids each time, since some tokenizers write a token differently at the
    start of a text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._known = 0
        self._shown = ""

    def push(self, token: int) -> str:
        """The text that became certain with `token`; empty while a character is open."""
        self._window.append(token)
        text = self._text()
        if text.endswith(_REPLACEMENT) or len(text) <= len(self._shown):
            return ""
        new = text[len(self._shown) :]
        self._window = self._window[self._known :]
        self._known = len(self._window)
        self._shown = self._text()
        return new

    def flush(self) -> str:
        """What is still held back, broken characters as U+FFFD."""
        new = self._text()[len(self._shown) :]
        self._window, self._known, self._shown = [], 0, ""
        return new

    def _text(self) -> str:
        return self._tokenizer.decode(self._window, skip_special_tokens=True)


def _ids(ids: Sequence[int]) -> Ids:
    return np.asarray(ids, np.int32)


def _fingerprint(tokenizer: Tokenizer) -> str:
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    by_id = sorted((id_, token) for token, id_ in vocabulary.items())
    probe = tokenizer.encode(_PROBE, add_special_tokens=False).ids
    return hashlib.sha256(json.dumps([by_id, probe]).encode()).hexdigest()


def _from_transformers(name: str) -> Codec:
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
    if not hf.is_fast:
        raise ModelError(f"{name} has no fast tokenizer", "Convert it to a tokenizer.json first")
    try:
        generation: Any = auto.GenerationConfig.from_pretrained(name)
    except (OSError, ValueError):
        generation = None
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
    return Codec(backend, render if hf.chat_template else None, eos, save)


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
