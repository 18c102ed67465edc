"""JSON schemas, regular expressions, Lark and tools, compiled by llguidance for one tokenizer."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, cast

from tascel.codec import Codec
from tascel.errors import RequestError
from tascel.grammar.calls import calls_schema, function_of, only_calls, text_and_calls
from tascel.grammar.guide import CompiledGrammar, reason
from tascel.tools import CallFormat
from tascel.types import Message

if TYPE_CHECKING:
    from llguidance import LLMatcher

Schema = Mapping[str, Any]

#: Grammars that stay compiled.
KEPT = 16
# JSON is written on one line: models that are lost love white space.
_FREE = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
# How it is mostly written, the likeliest first: what is guessed while an answer agrees with it.
_STYLES = (
    {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
    {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"},
)
_REMEDIES = {
    "JSON schema": "Leave out what is not supported, or let it be ignored: add "
    '"x-guidance": {"lenient": true} to the schema',
    "regular expression": "Write it for Rust's regex crate: no look-around, no back-references",
    "grammar": "Write it in llguidance's variant of Lark",
}


class Grammars:
    """Makes grammars for one codec's answers. Make it once: it reads the whole vocabulary.

    `eos_ids` are the ids that end an answer: the engine's, where they may differ from the codec's.
    Every method raises RequestError for a grammar that is wrong, that needs what llguidance lacks,
    or that is too big. Compiling may take a second.

    Raises:
        RequestError: llguidance is not installed, or cannot read this tokenizer.
    """

    def __init__(self, codec: Codec, eos_ids: Collection[int] = ()) -> None:
        try:
            from llguidance import LLTokenizer
        except ImportError as error:
            raise RequestError(
                "constraints need llguidance", "pip install 'tascel[grammar]'"
            ) from error
        self._codec = codec
        self._eos_ids = frozenset(eos_ids or codec.eos_ids)
        try:
            self._tokenizer = LLTokenizer(
                codec.tokenizer.to_str(), n_vocab=codec.vocab_size, eos_token=sorted(self._eos_ids)
            )
        except ValueError as error:
            raise RequestError(
                f"llguidance cannot read the model's tokenizer ({reason(str(error))})",
                "Ask without a constraint",
            ) from error
        self._compiled = lru_cache(KEPT)(self._compile)

    @cached_property
    def calls(self) -> CallFormat:
        """How the model writes tool calls. Raises as `CallFormat.of` does."""
        return CallFormat.of(self._codec)

    def json_schema(self, schema: Schema | str) -> CompiledGrammar:
        """JSON that follows a schema, or the text of one (draft 2020-12).

        It stands on one line, with or without a space behind commas and colons, and its properties
        come in the schema's order. `x-guidance` in the schema sets llguidance's options.
        """
        return self._json("start: json", _parsed(schema))

    def json_object(self) -> CompiledGrammar:
        """Any JSON object."""
        return self.json_schema({"type": "object"})

    def regex(self, pattern: str) -> CompiledGrammar:
        """Text that `pattern` matches from beginning to end."""
        from llguidance import regex_to_lark

        text = f"start: /{regex_to_lark(pattern, '')}/"
        return self._compiled("regular expression", text, ())

    def lark(self, text: str) -> CompiledGrammar:
        """Text of a grammar in llguidance's variant of Lark."""
        return self._compiled("grammar", text, ())

    def tools(
        self, tools: Sequence[Message], choice: str | Message = "auto", parallel: bool = True
    ) -> CompiledGrammar:
        """Calls of `tools`, in OpenAI's shape, written as the model's chat template writes them.

        `choice` is OpenAI's `tool_choice`: "auto" (text, and calls where the model wants them),
        "required" (nothing but calls), or one function by name (one call of it). Without `parallel`
        there is one call at most. Of the arguments' schemas, what llguidance lacks is ignored
        unless the function is `strict`.
        """
        functions = [function_of(tool) for tool in tools]
        if not isinstance(choice, str):
            name = function_of(choice)["name"]
            functions = [function for function in functions if function["name"] == name]
        elif choice not in ("auto", "required"):
            raise RequestError(f"tool_choice {choice!r} is unknown", 'Use "auto" or "required"')
        if not functions:
            raise RequestError("there is no such tool to call", "Give it in `tools`")
        many = parallel and self.calls.repeats and isinstance(choice, str)
        if choice == "auto":
            text = text_and_calls(self.calls, many, self._pieces, self._eos_ids)
        else:
            text = only_calls(self.calls, many, self._pieces)
        return self._json(text, _parsed(calls_schema(self.calls, functions, many)))

    def _json(self, text: str, schema: Schema) -> CompiledGrammar:
        """A grammar in which `json` is what follows the schema."""
        given: Schema = schema.get("x-guidance", {})

        def filled(options: Mapping[str, str | bool]) -> str:
            whole = {**schema, "x-guidance": {**options, **given}}
            return f"{text}\njson: %json {json.dumps(whole)}"

        return self._compiled("JSON schema", filled(_FREE), tuple(map(filled, _STYLES)))

    def _compile(self, kind: str, text: str, guesses: Sequence[str]) -> CompiledGrammar:
        any_spelling = f'{text}\n%llguidance {{"no_forcing": true}}'

        def compile() -> list[LLMatcher]:
            return [self._matcher(kind, each) for each in (any_spelling, text, *guesses)]

        return CompiledGrammar(
            compile, self._eos_ids, self._tokenizer.vocab_size, self._codec.new_tokens
        )

    def _matcher(self, kind: str, text: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(  # what a hostile grammar may cost: some 10 ms a token, and 100 MB
            step_lexer_fuel=100_000,
            max_lexer_states=50_000,
            max_grammar_size=200_000,
            verbose_errors=False,
        )
        grammar = LLMatcher.grammar_from_lark(text)
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits)
        if not matcher.is_error():
            matcher.compute_bitmask()  # some are found out only now
        if matcher.is_error():
            raise RequestError(
                f"the {kind} cannot be used ({reason(matcher.get_error())})", _REMEDIES[kind]
            )
        return matcher

    def _pieces(self, text: str) -> list[str | int]:
        pieces: list[str | int] = []
        encoding = self._codec.tokenizer.encode(text, add_special_tokens=False)
        done = 0
        for id_, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if self._tokenizer.is_special_token(id_):
                pieces += [text[done:start], id_]
                done = end
        return [piece for piece in [*pieces, text[done:]] if piece != ""]


def _parsed(schema: Schema | str) -> Schema:
    try:
        whole = json.loads(schema if isinstance(schema, str) else json.dumps(schema))
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestError(f"the schema is not JSON ({error})", "Give a JSON schema") from error
    if not isinstance(whole, dict):
        raise RequestError("the schema is no JSON object", "Give a JSON schema as an object")
    parsed = cast(dict[str, Any], whole)
    if not isinstance(parsed.get("x-guidance", {}), dict):
        raise RequestError("x-guidance in the schema is no object", "Leave it out")
    return parsed
