"""What is refused, with which status, and in OpenAI's shape."""

from __future__ import annotations

import httpx
import openai
import pytest
from pydantic import ValidationError

from tascel.serve.schema import ChatRequest, TextRequest

CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "light"}], "max_tokens": 4}


def error(response):
    """The error of a response, which must be in OpenAI's shape."""
    assert set(response.json()) == {"error"}
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    return response.json()["error"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant"}]}, None),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content.0.type",
        ),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"min_p": 1}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 33}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 129}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"stop": ""}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"logit_bias": {"one": 1}}, "logit_bias.one"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"top_logprobs": 2}, None),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, None),
        ({"stream": True, "stream_options": {"nothing": 1}}, "stream_options.nothing"),
        ({"prediction": "text"}, "prediction"),
        ({"tool_choice": "required"}, None),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"task": "t" * 201}, "task"),
        ({"store": True}, "store"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"foo": 1}, "foo"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_honoured_is_refused(live, fields, param):
    response = live.post(CHAT, ASKED | fields)
    said = error(response)
    assert (response.status_code, said["type"]) == (400, "invalid_request_error")
    assert said["param"] == param


@pytest.mark.parametrize(
    "fields",
    [{"echo": True}, {"best_of": 2}, {"suffix": "x"}, {"prompt": []}, {"prompt": [-1]},
     {"prompt": [999999]}, {"prompt": ["a"] * 33}, {"prompt": ["a", 1]}, {"prompt": ""},
     {"logprobs": True}, {"max_completion_tokens": 3}],
    ids=str,
)  # fmt: skip
def test_so_it_is_with_completions(live, fields):
    response = live.post("/v1/completions", {"prompt": "light", "max_tokens": 4} | fields)
    assert (response.status_code, error(response)["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"text"', b"[" * 200_000, b'{"messages": ' + b"[" * 100_000,
     b'{"messages": NaN}', b'{"temperature": Infinity}', b'{"n": 1' + b"0" * 10_000 + b"}",
     b'{"messages": [{"role": "user", "content": "\\ud800"}]}', b"\xff\xfe{}", b"\x00",
     b'{"messages": [{"role": "user", "content": "x"}], "messages": 1}'],
    ids=lambda body: body[:30],
)  # fmt: skip
def test_no_body_makes_a_server_error(live, body):
    for path in (CHAT, "/v1/completions"):
        for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            response = httpx.post(f"{live.url}{path}", content=body, headers={"content-type": kind})
            assert response.status_code == 400
            error(response)


MANY = 300_000


@pytest.mark.parametrize(
    "fields",
    [{str(at): 1 for at in range(MANY)}, {"messages": [1] * MANY}, {"messages": [{}] * MANY},
     {"prompt": ["a", *[1] * MANY]}, {"prompt": [[1], *["a"] * MANY]}, {"stop": [1] * MANY},
     {"logit_bias": {f"x{at}": 1 for at in range(MANY)}}, {"tools": [1] * MANY},
     {"metadata": {str(at): 1 for at in range(MANY)}},
     {"prediction": {"type": "content", "content": [1] * MANY}},
     {"messages": [{"role": "user", "content": [1] * MANY}]},
     {"messages": [{"role": "user", str(0): 1} | {str(at): 1 for at in range(MANY)}]}],
    ids=lambda fields: str(fields)[:30],
)  # fmt: skip
def test_a_million_mistakes_are_not_listed(fields):
    for body in (ChatRequest, TextRequest):
        with pytest.raises(ValidationError) as refused:
            body.model_validate(fields)
        assert refused.value.error_count() < 20


def test_what_a_template_chokes_on_is_the_clients_fault(live):
    call = {"type": "function", "function": {"name": "f", "arguments": "[" * 100_000}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    response = live.post(CHAT, ASKED | {"messages": [message]})
    assert response.status_code == 400
    assert "template" in error(response)["message"]


def test_a_prompt_that_is_too_long_has_a_code_of_its_own(live, start):
    response = live.post(CHAT, ASKED | {"messages": [{"role": "user", "content": "x" * 1100}]})
    assert response.status_code == 400
    assert error(response)["code"] == "context_length_exceeded"
    with start(prompt=8) as small:
        response = small.post("/v1/completions", {"prompt": list(range(9))})
        assert error(response)["code"] == "context_length_exceeded"
        assert small.post("/v1/completions", {"prompt": list(range(8))}).status_code == 200


def test_unknown_models_and_routes(live):
    response = live.post(CHAT, ASKED | {"model": "gpt-x"})
    assert (response.status_code, error(response)["code"]) == (404, "model_not_found")
    assert live.post(CHAT, ASKED).json()["model"] == "toy"
    response = httpx.get(f"{live.url}/v1/nothing")
    assert (response.status_code, error(response)["type"]) == (404, "invalid_request_error")
    response = httpx.get(f"{live.url}{CHAT}")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    error(response)


def test_bodies_have_a_limit(start):
    with start(body=1000) as live:
        fat = {"messages": [{"role": "user", "content": "x" * 1000}]}
        assert error(live.post(CHAT, fat))["type"] == "invalid_request_error"
        assert live.post(CHAT, fat).status_code == 413
        pieces = httpx.post(f"{live.url}{CHAT}", content=(b"x" * 100 for _ in range(20)))
        assert pieces.status_code == 413
        assert live.post(CHAT, ASKED).status_code == 200


def test_a_key_is_asked_for(start):
    with start(key="s3cret-ä") as live:
        for header in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "s3cret-ä".encode()},
        ):
            response = live.post(CHAT, ASKED, headers=header)
            assert (response.status_code, error(response)["code"]) == (401, "invalid_api_key")
            assert response.headers["www-authenticate"] == "Bearer"
    with start(key="déjà") as live:  # its last byte looks like a space
        header = {"Authorization": "Bearer déjà".encode()}
        assert live.post(CHAT, ASKED, headers=header).status_code == 200
    with start(key="s3cret") as live:
        with pytest.raises(openai.AuthenticationError):
            live.client(api_key="wrong").models.list()
        assert [model.id for model in live.client().models.list()] == ["toy"]
        assert live.health()[0] == 200
        assert live.metric("tascel_http_requests_total", status="401") == 1
        assert "HTTPBearer" in httpx.get(f"{live.url}/openapi.json").text


def test_what_nobody_foresaw_is_a_500_and_not_the_end(start, monkeypatch):
    def fails():
        raise ZeroDivisionError("secret")

    with start() as live:
        monkeypatch.setattr(live.app.service.metrics, "text", fails)
        response = httpx.get(f"{live.url}/metrics")
        assert (response.status_code, error(response)["type"]) == (500, "server_error")
        assert "secret" not in response.text
        monkeypatch.undo()
        assert live.metric("tascel_http_requests_total", status="500") == 1
        monkeypatch.setattr("tascel.serve.ask.requests", lambda *args, **named: fails())
        response = live.post(CHAT, ASKED)
        assert (response.status_code, error(response)["type"]) == (500, "server_error")
        monkeypatch.undo()
        assert live.post(CHAT, ASKED).status_code == 200


def test_request_ids_are_echoed(live):
    response = live.post(CHAT, ASKED, headers={"X-Request-Id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    response = live.post(CHAT, {}, headers={"X-Request-Id": "bad id " + "x" * 200})
    assert len(response.headers["x-request-id"]) == 32
    given = live.client().with_raw_response.models.list()
    assert given.headers["x-request-id"]


def test_messages_and_tools_reach_the_template_as_they_were_sent(served_runner):
    from tascel.serve.ask import Served
    from tascel.serve.chat import Chat

    call = {
        "id": "c1",
        "function": {"arguments": '{"b": 1, "a": 2}', "name": "f"},
        "type": "function",
    }
    messages = [
        {"content": "be brief", "role": "developer"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "tool_calls": [call], "refusal": None, "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]
    body = ChatRequest.model_validate({"messages": messages})
    asked = Chat(body, Served(served_runner, "toy")).requests()[0]
    plain = [messages[0] | {"role": "system"}, messages[1] | {"content": "ab"}, *messages[2:]]
    expected = served_runner.request(plain).prompt
    assert asked.prompt.tolist() == expected.tolist()
