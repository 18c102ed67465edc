"""What only tascel does on request: tell tokens and costs, decode plainly."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tascel.types import SOURCES

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
BODIES = {
    CHAT: {"messages": [{"role": "user", "content": "light 1 in the den"}]},
    TEXT: {"prompt": "light 1 in the den"},
}


def asked(live, path, extras, **body):
    reply = live.post(path, BODIES[path] | {"max_tokens": 40, "tascel": extras} | body)
    assert reply.status_code == 200, reply.text
    return reply


def said(choice):
    return choice["text"] if "text" in choice else choice["message"]["content"]


def streamed(reply):
    """The choices of a stream's events, and the text that each adds."""
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    for line in lines:
        choice = json.loads(line)["choices"][0]
        yield choice, choice["text"] if "text" in choice else choice["delta"].get("content", "")


@pytest.mark.parametrize("path", BODIES)
def test_tokens_are_told_with_who_drafted_them(live, path):
    choice = asked(live, path, {"tokens": True, "stats": True}).json()["choices"][0]
    written = choice["tascel"].pop("written")
    assert "".join(token["text"] for token in written) == said(choice)
    assert len(written) == choice["tascel"]["tokens"]
    for source in SOURCES[1:]:
        accepted = choice["tascel"]["drafted"].get(source, {"accepted": 0})["accepted"]
        assert accepted == sum(token["source"] == source for token in written)
    steps = [token["step"] for token in written]
    assert steps == sorted(steps)
    assert steps[-1] < choice["tascel"]["steps"]
    whole = asked(live, path, {}).json()["choices"][0]
    assert "tascel" not in whole
    assert said(whole) == said(choice)


@pytest.mark.parametrize("path", BODIES)
def test_each_event_tells_its_own_tokens(live, path):
    written = []
    for choice, text in streamed(asked(live, path, {"tokens": True}, stream=True)):
        new = choice.get("tascel", {}).get("written", [])
        assert "".join(token["text"] for token in new) == text
        written += new
    whole = asked(live, path, {"tokens": True}).json()["choices"][0]
    assert [token["text"] for token in written] == [
        token["text"] for token in whole["tascel"]["written"]
    ]


def test_tokens_without_a_text_yet_are_told_too(live, tokenizer):
    """Each token is half of a character: every second event would have nothing to say."""
    bias = {str(tokenizer.convert_tokens_to_ids(piece)): 100 for piece in ("Ã", "©")}
    extras, more = {"tokens": True}, {"logit_bias": bias, "frequency_penalty": 2}
    events = list(streamed(asked(live, CHAT, extras, stream=True, **more)))
    told = [choice["tascel"]["written"] for choice, _ in events if "tascel" in choice]
    assert sum(map(len, told)) == 40
    assert any(not token["text"] for new in told for token in new)


@pytest.mark.parametrize("path", BODIES)
def test_drafts_off_is_the_same_answer_token_by_token(live, path):
    drafted = asked(live, path, {"stats": True}).json()["choices"][0]
    prediction = {"type": "content", "content": said(drafted)}
    form = {"regex": "(abcdefgh)+"}
    for more in ({}, {"prediction": prediction}, {"structured_outputs": form}):
        drafted = asked(live, path, {"stats": True}, **more).json()["choices"][0]
        plain = asked(live, path, {"stats": True, "drafts": False}, **more).json()["choices"][0]
        assert said(plain) == said(drafted)
        assert plain["tascel"]["drafted"] == {}
        assert plain["tascel"]["steps"] == plain["tascel"]["tokens"]
        if path == CHAT or more.get("structured_outputs"):  # the bundle knows chats alone
            assert drafted["tascel"]["steps"] < drafted["tascel"]["tokens"]


def test_drafts_off_is_each_request_s_own_affair(start):
    with start() as live:
        live.pace.hold()
        with ThreadPoolExecutor(2) as pool:
            both = [
                pool.submit(asked, live, CHAT, {"stats": True, "drafts": drafts})
                for drafts in (True, False)
            ]
            live.until(lambda: live.health()[1]["waiting"] == 2, "both are waiting")
            live.pace.free()
            drafted, plain = (one.result().json()["choices"][0] for one in both)
        assert said(plain) == said(drafted)
        assert plain["tascel"]["drafted"] == {}
        assert drafted["tascel"]["drafted"]


@pytest.mark.parametrize("extras", [{"drafts": "no"}, {"tokens": 1}, {"colours": True}])
def test_what_is_not_understood_is_refused(live, extras):
    assert live.post(CHAT, BODIES[CHAT] | {"tascel": extras}).status_code == 400
