"""Text to ids and back: the one owner of tokenisation.

Prompts are rendered by the model's own chat template exactly as at generation, answers end with the
id that ends the model's turn, and the streaming detokenizer never splits a character. Where a
tokenizer has new tokens, answers are written with them and prompts never are.
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

from tascel import pretrained
from tascel.detokenizer import Detokenizer
from tascel.errors import ModelError, RequestError, TraceError
from tascel.new_tokens import NewTokens
from tascel.types import Ids, Message, Trace

#: Mixed scripts, digits, spaces and code: two tokenizers that agree here and in every vocabulary
#: entry are the same for our purposes, whatever their files look like.
_PROBE = (
    "Hello  wörld!\n\t{\"a_b\": [-12.50, '\u4f60\u597d'], 🙂 x = f(y) // 2026-01-31 İstanbul   "
)
#: Answers tokenised together.
_BATCH = 256


class Codec:
    """A tokenizer with its chat template. Make one with `from_pretrained`.

    Attributes:
        eos_ids: every id that ends an answer.
        vocab_size: ids run from 0 to one less; some tokenizers leave gaps.
        end_id: the id that ends the model's turn in its template; answers close with it.
        new_tokens: what the model writes runs of ids with; mostly none.
        fingerprint: the same for two tokenizers that write the same ids, hex.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        render: pretrained.Render | None,
        eos_ids: Iterable[int],
        save: Callable[[Path], None] | None = None,
        new_tokens: NewTokens | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.new_tokens = new_tokens or NewTokens()
        self.eos_ids = frozenset(eos_ids)
        if not self.eos_ids:
            raise ModelError(
                "the tokenizer names no end-of-sequence token",
                "Set eos_token in its tokenizer_config.json or eos_token_id in generation_config",
            )
        self._render = render
        self._save = save
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = 1 + max([*vocabulary.values(), *self.eos_ids])
        self.fingerprint = _fingerprint(tokenizer, vocabulary, self.new_tokens)
        self._plain, self.end_id = self._closing()

    @staticmethod
    def from_pretrained(model: str | Path) -> Codec:
        """The codec of a model folder, a bundle's tokenizer folder or a Hugging Face id.

        Raises:
            ModelError: nothing there, or no fast tokenizer can be made of it.
        """
        return Codec(*pretrained.read(str(model)))

    @staticmethod
    def from_tokenizer(tokenizer: Any, generation_config: Any = None) -> Codec:
        """The codec of a tokenizer that transformers has loaded, with the end ids of the model's
        generation config, too.

        Raises:
            ModelError: it is no fast tokenizer.
        """
        return Codec(*pretrained.parts(tokenizer, generation_config))

    def prompt(
        self, messages: str | Sequence[Message], tools: Sequence[Message] | None = None
    ) -> Ids:
        """The ids the model reads before it answers: i32[n].

        A string is one user message. Without a chat template the text itself is the prompt.

        Raises:
            RequestError: the template refuses the conversation, or it is no valid text.
        """
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        if self._render is None:
            if tools:
                raise RequestError(
                    "the model has no chat template to show tools in", "Leave out `tools`"
                )
            text = "\n".join(str(m.get("content") or "") for m in messages)
            return _ids(self.tokenizer.encode(_whole(text)).ids)
        text = self._render(messages, tools, True)
        return _ids(self.tokenizer.encode(_whole(text), add_special_tokens=False).ids)

    def generation_prompt(self) -> Ids:
        """What all prompts end with, the tail that two unlike ones share: i32[k]."""
        one, other = self.prompt("a"), self.prompt("7")
        shared = 0
        while shared < min(len(one), len(other)) and one[-1 - shared] == other[-1 - shared]:
            shared += 1
        return one[len(one) - shared :].copy()

    def output(self, text: str) -> Ids:
        """The ids of an answer as the model would write it, without the closing id: i32[m]."""
        return self._written(self._encode(_whole(text)))

    def answer(self, trace: Trace) -> Ids:
        """The ids of a trace's answer, tool calls included, up to and with the closing id: i32[m].

        They are what the model writes after the generation prompt, whatever the template adds.

        Raises:
            TraceError: there is no answer, or the template cannot write it.
        """
        return next(self.answers([trace]))[1]

    def answers(
        self, traces: Iterable[Trace], refused: Callable[[TraceError], None] | None = None
    ) -> Iterator[tuple[Trace, Ids]]:
        """Each trace with its `answer`, tokenised in batches where the template allows.

        Answers that the template cannot write are left out and given to `refused`, if there is one.
        """
        stream = iter(traces)
        while batch := list(islice(stream, _BATCH)):
            plain = [self._plain and not _answer(trace).get("tool_calls") for trace in batch]
            texts = [
                str(_answer(trace).get("content") or "")
                for trace, direct in zip(batch, plain, strict=True)
                if direct
            ]
            encodings = iter(self.tokenizer.encode_batch_fast(texts, add_special_tokens=False))
            for trace, direct in zip(batch, plain, strict=True):
                if direct:
                    yield trace, self._written([*next(encodings).ids, self.end_id])
                    continue
                try:
                    ids = self._turn([*trace.messages], _answer(trace), trace.tools)
                    yield trace, self._written(ids)
                except TraceError as error:
                    if refused is None:
                        raise
                    refused(error)

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

    def _turn(
        self, messages: list[Message], answer: Message, tools: Sequence[Message] | None
    ) -> list[int]:
        """The base ids that the template adds to the generation prompt for `answer`, closing id
        last."""
        content = str(answer.get("content") or "")
        if self._render is None:
            if answer.get("tool_calls"):
                raise TraceError(
                    "a trace has tool calls and the model no chat template to write them with",
                    "Use a model with a tool template, or put the calls into `output` as text",
                )
            return [*self._encode(content), self.end_id]
        try:
            before = self._render(messages, tools, True)
            after = self._render([*messages, answer], tools, False)
        except RequestError as error:
            raise TraceError(error.what, error.remedy) from error
        asked, whole = self._encode(before), self._encode(after)
        if whole[: len(asked)] == asked:
            written = whole[len(asked) :]
        elif after.startswith(before):
            written = self._encode(after[len(before) :])
        elif content and content in after:
            # The template opens the turn otherwise when it generates (a thinking block, say).
            written = self._encode(after[after.rindex(content) :])
        else:
            raise TraceError(
                "the chat template does not continue its own generation prompt for this answer",
                "Put the answer into `output` as the text that the model writes",
            )
        calls = answer.get("tool_calls") or ()
        if not all(str(c["function"]["name"]) in self.decode(written) for c in calls):
            raise TraceError(
                "the model's chat template does not write tool calls",
                "Put the calls into `output` as the text that the model writes",
            )
        end = next((i for i, id_ in enumerate(written) if id_ in self.eos_ids), None)
        return [*written, self.end_id] if end is None else written[: end + 1]

    def _closing(self) -> tuple[bool, int]:
        """Whether plain answers are simply their text and a closing id, and which id that is."""
        end = min(self.eos_ids)
        self.end_id = end  # what `_turn` falls back to
        for text in ("ok", '{"a": 1}', "1", "[x]"):
            try:
                ids = self._turn([{"role": "user", "content": "a"}], _said(text), None)
            except TraceError:  # a template that wants more than a user's turn
                return True, end
            if ids[:-1] != self._encode(text):
                return False, ids[-1]
            end = ids[-1]
        return True, end

    def _written(self, ids: Sequence[int]) -> Ids:
        """Base ids as the model writes them."""
        return self.new_tokens.shorten(_ids(ids))

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError(
            "the text has half of a surrogate pair, which is no character", "Give valid Unicode"
        ) from None
    return text


def _said(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _answer(trace: Trace) -> Message:
    if trace.answer is None:
        raise TraceError("a trace has no answer", "Give it an `output` or an assistant turn")
    return trace.answer


def _ids(ids: Sequence[int]) -> Ids:
    return np.asarray(ids, np.int32)


def _fingerprint(tokenizer: Tokenizer, vocabulary: Mapping[str, int], new: NewTokens) -> str:
    by_id = sorted((id_, token) for token, id_ in vocabulary.items())
    probe = tokenizer.encode(_PROBE, add_special_tokens=False).ids
    seen = [by_id, probe, new.to_json()] if new else [by_id, probe]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()
