"""Full queues, clients that leave or do not read, time limits, failing passes, and the end."""

from __future__ import annotations

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import openai
import pytest

CHAT = "/v1/chat/completions"


def asked(tokens=60, text="light", **fields):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": tokens} | fields


@contextmanager
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def connection(live, body, announced=None, buffer=None):
    """A socket on which a request was sent, by hand."""
    payload = json.dumps(body).encode()
    raw = socket.socket()
    if buffer is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    raw.connect(("127.0.0.1", int(live.url.rpartition(":")[2])))
    length = len(payload) if announced is None else announced
    raw.sendall(
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n".encode()
        + payload
    )
    return raw


def settled(live):
    live.until(lambda: live.app.service.idle, "nothing is open")
    live.pace.free()
    live.until(lambda: not live.app.service.worker.running, "nothing runs")


def test_a_stream_that_is_closed_ends_generation(start):
    with start() as live:
        live.pace.hold()
        live.pace.allow(1)
        with live.client() as client:
            stream = client.chat.completions.create(model="toy", stream=True, **asked())
            assert next(stream).choices[0].delta.role == "assistant"
            assert live.health() == (200, {"status": "ok", "running": 1, "waiting": 0})
            stream.close()
        settled(live)
        assert live.metric("tascel_answers_total", end="cancelled") == 1
        assert live.metric("tascel_answer_tokens_total") == 0
        assert live.metric("tascel_http_requests_total", status="200", route=CHAT) == 1


def test_a_client_that_hangs_up_ends_generation(start):
    with start(rows=1) as live:
        live.pace.hold()
        waiting = [connection(live, asked(n=2)) for _ in range(2)]
        live.until(lambda: live.app.service.waiting == 4, "four are open")
        for raw in waiting:
            raw.close()
        settled(live)
        assert live.metric("tascel_answers_total", end="cancelled") == 4
        live.until(
            lambda: live.metric("tascel_http_requests_total", status="499") == 2, "both counted"
        )
        assert live.post(CHAT, asked(4)).status_code == 200


def test_a_full_queue_refuses(start):
    with start(rows=1, queue=1) as live, threads() as pool:
        live.pace.hold()
        first = [pool.submit(live.post, CHAT, asked(4)) for _ in range(2)]
        live.until(lambda: len(live.app.service._open) == 2, "two are open")
        refused = live.post(CHAT, asked(4))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["type"] == "rate_limit_error"
        with live.client() as client, pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="toy", stream=True, **asked(4))
        live.pace.free()
        assert [response.result().status_code for response in first] == [200, 200]
        assert live.post(CHAT, asked(4, n=3)).status_code == 429  # never more than there are places
        assert live.post(CHAT, asked(4, n=2)).status_code == 200


def test_a_reader_that_does_not_read_holds_up_nobody_and_is_cut_off(start):
    with start(stall=1.0, buffer=4096) as live:
        fat = asked(60, n=4, stream=True, logprobs=True, top_logprobs=20)
        stuck = connection(live, fat, buffer=4096)
        live.until(lambda: not live.app.service.idle, "it is open")
        for _ in range(3):
            assert live.post(CHAT, asked(8)).status_code == 200
        live.until(lambda: live.app.service.idle, "it is given up")
        live.until(lambda: not live.server.server_state.connections, "its connection is closed")
        seen = bytearray()
        with suppress(ConnectionError):
            while piece := stuck.recv(1 << 16):
                seen += piece
        assert seen.startswith(b"HTTP/1.1 200")
        assert b"[DONE]" not in seen
        stuck.close()


def test_a_slow_reader_gets_everything(start):
    with start(buffer=4096) as live:
        fat = asked(60, n=4, stream=True, logprobs=True, top_logprobs=20)
        fast, slow = connection(live, fat), connection(live, fat, buffer=4096)
        answers = []
        for raw in (slow, fast):
            seen = b""
            while b"[DONE]" not in seen:
                seen += raw.recv(2048)
            raw.close()
            lines = [line[6:] for line in seen.splitlines() if line.startswith(b"data: {")]
            pieces = ["", "", "", ""]
            for line in lines:
                for choice in json.loads(line)["choices"]:
                    pieces[choice["index"]] += choice["delta"].get("content", "")
            answers.append((pieces, len(lines)))
        assert answers[0][0] == answers[1][0]


def test_time_is_limited(start):
    with start(seconds=3.0) as live:
        live.pace.hold()
        with threads() as pool:
            whole = pool.submit(live.post, CHAT, asked())
            late = whole.result()
        assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
        live.pace.allow(2)  # one is the given up request's
        with live.client() as client:
            stream = client.chat.completions.create(model="toy", stream=True, **asked())
            assert next(stream).choices[0].delta.role == "assistant"
            with pytest.raises(openai.APIError, match="Not done after 3 seconds"):
                list(stream)
        settled(live)


def test_a_body_that_does_not_come_is_not_waited_for(start):
    with start(stall=0.5) as live:
        raw = connection(live, {}, announced=100)
        assert raw.recv(1 << 16).startswith(b"HTTP/1.1 408")
        raw.close()


def test_a_failed_pass_ends_its_requests_and_no_others(start, caplog):
    with start(rows=1) as live, threads() as pool:
        live.pace.hold()
        hit = pool.submit(live.post, CHAT, asked(8))
        live.until(lambda: live.app.service.worker.waiting == 1, "the first is queued")
        other = pool.submit(live.post, CHAT, asked(8, "den"))
        live.until(lambda: len(live.app.service._open) == 2, "both are open")
        live.faults.append(RuntimeError("out of memory at 0x7f"))
        live.pace.free()
        failed = hit.result()
        assert (failed.status_code, failed.json()["error"]["code"]) == (500, "engine_error")
        assert "0x7f" not in failed.text
        assert other.result().status_code == 200
        assert live.metric("tascel_answers_total", end="error") == 1
    assert "out of memory" in caplog.text


def test_a_stream_that_fails_says_so(start):
    with start() as live:
        live.pace.hold()
        live.pace.allow(1)
        with live.client() as client:
            stream = client.chat.completions.create(model="toy", stream=True, **asked())
            assert next(stream).choices[0].delta.role == "assistant"
            live.faults.append(RuntimeError("boom"))
            live.pace.free()
            with pytest.raises(openai.APIError, match="failed in a pass"):
                list(stream)


def test_told_to_end_it_finishes_what_is_under_way(start):
    with start() as live, threads() as pool:
        live.pace.hold()
        running = pool.submit(live.post, CHAT, asked(8))
        live.until(lambda: not live.app.service.idle, "one is open")
        live.server.handle_exit(signal.SIGTERM, None)
        assert live.health()[0] == 503
        assert live.health()[1]["status"] == "draining"
        refused = live.post(CHAT, asked(8))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        live.pace.free()
        assert running.result().status_code == 200
        live.until(lambda: not live.app.service.worker.alive, "the server has ended")
        with pytest.raises(httpx.ConnectError):
            live.health()


def test_but_not_for_ever(start):
    with start(drain=0.5) as live, threads() as pool:
        live.pace.hold()
        whole = pool.submit(live.post, CHAT, asked(60))
        live.until(lambda: live.app.service.worker.waiting == 1, "it is queued")
        live.server.handle_exit(signal.SIGTERM, None)
        assert (whole.result().status_code, whole.result().json()["error"]["code"]) == (
            503, "shutting_down",
        )  # fmt: skip


def test_told_twice_it_ends_at_once(start):
    with start() as live, threads() as pool:
        live.pace.hold()
        whole = pool.submit(live.post, CHAT, asked(60))
        live.until(lambda: live.app.service.worker.waiting == 1, "it is queued")
        for _ in range(2):
            live.server.handle_exit(signal.SIGINT, None)
        assert whole.result().status_code == 503
