"""Codecs of toy tokenizers whose templates write tool calls as known models do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tascel.codec import Codec


def chatml(calls: str) -> str:
    return (
        "{%- for m in messages %}<|im_start|>{{ m.role + '\n' + m.content }}"
        "{%- if m.tool_calls %}" + calls + "{%- endif %}<|im_end|>\n{%- endfor %}"
        "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def each(call: str, between: str) -> str:
    between = "{{ '" + between + "' if not loop.first }}"
    return "{%- for call in m.tool_calls %}" + between + call + "{%- endfor %}"


CALL = (
    """{{ '{"name": "' + call.function.name + '", "arguments": ' }}"""
    """{{ call.function.arguments | tojson }}{{ '}' }}"""
)
TAGGED = each("{{ '<tool_call>\\n' }}" + CALL + "{{ '\\n</tool_call>' }}", "\\n")
LISTED = "{{ '[' }}" + each(CALL, ", ") + "{{ ']' }}"
WITH_ID = """{{ (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' }}"""
TEMPLATES = {
    "tagged": chatml(TAGGED),  # Qwen, Hermes
    "thinking": chatml("{{ '<think>\\n\\n</think>\\n\\n' }}" + TAGGED),  # Qwen3
    "bare": chatml(  # Llama 3
        "{%- if m.tool_calls[1:] %}{{ raise_exception('only one') }}{%- endif %}"
        "{%- set call = m.tool_calls[0] %}" + CALL.replace("arguments", "parameters", 1)
    ),
    "listed": chatml("{{ '<|calls|>' }}" + LISTED + "{{ '<|done|>' }}"),
    "with ids": chatml(  # Mistral
        "{%- if m.tool_calls[0].id | length != 9 %}{{ raise_exception('nine') }}{%- endif %}"
        "{{ '<|calls|> [' }}" + each(WITH_ID, ", ") + "{{ ']' }}"
    ),
    "openai": chatml("{{ m.tool_calls | tojson }}"),
}
UNREADABLE = {
    "python": chatml("{{ '[' }}" + each("{{ call.function.name + '()' }}", ", ") + "{{ ']' }}"),
    "name apart": chatml(
        each("{{ call.function.name }}{{ call.function.arguments | tojson }}", "")
    ),
    "none": chatml(""),
}


@pytest.fixture(scope="session")
def codec_of(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Codec]:
    """The codec of a template by its name."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    made: dict[str, Codec] = {}

    def make(name: str) -> Codec:
        if name not in made:
            folder = tmp_path_factory.mktemp("codec")
            tokenizer.save_pretrained(folder)
            own = PreTrainedTokenizerFast.from_pretrained(folder)
            for token in ("<tool_call>", "</tool_call>", "<think>", "</think>"):
                own.backend_tokenizer.add_tokens([AddedToken(token, normalized=False)])
            for token in ("<|calls|>", "<|done|>"):
                special = AddedToken(token, special=True, normalized=False)
                own.backend_tokenizer.add_special_tokens([special])
            own.chat_template = {**TEMPLATES, **UNREADABLE}[name]
            own.save_pretrained(folder)
            made[name] = Codec.from_pretrained(folder)
        return made[name]

    return make


@pytest.fixture(scope="session", params=TEMPLATES)
def codec(request: pytest.FixtureRequest, codec_of: Any) -> Codec:
    return codec_of(request.param)


@pytest.fixture(scope="session", params=UNREADABLE)
def unreadable(request: pytest.FixtureRequest, codec_of: Any) -> Codec:
    return codec_of(request.param)
