"""The real OpenAI client against a live server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

PROMPTS = [f"light {i} in the den" for i in range(6)]


def user(text):
    return [{"role": "user", "content": text}]


def chat(client, text=PROMPTS[0], **options):
    given = {"model": "toy", "messages": user(text), "max_tokens": 12}
    return client.chat.completions.create(**given | options)


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["toy"]
    assert client.models.retrieve("toy").owned_by == "tascel"
    with pytest.raises(openai.NotFoundError, match="not served"):
        client.models.retrieve("org/other")


def test_a_chat_is_answered_as_the_runner_would(client, served_runner):
    for prompt in PROMPTS:
        reply = chat(client, prompt)
        expected = served_runner.generate(prompt, max_tokens=12)
        choice = reply.choices[0]
        assert (choice.message.content, choice.finish_reason) == (
            expected.text, expected.finish_reason,
        )  # fmt: skip
        assert reply.usage.completion_tokens == len(expected.tokens)
        assert reply.usage.prompt_tokens == len(served_runner.request(prompt).prompt)
        total = reply.usage.prompt_tokens + reply.usage.completion_tokens
        assert reply.usage.total_tokens == total
        assert reply.object == "chat.completion"


def test_a_stream_says_the_same(client):
    whole = chat(client, logprobs=True, top_logprobs=2)
    events = list(
        chat(
            client, stream=True, logprobs=True, top_logprobs=2,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert events[0].choices[0].delta.role == "assistant"
    middle = [event.choices[0] for event in events[:-1]]
    text = "".join(choice.delta.content or "" for choice in middle)
    assert text == whole.choices[0].message.content
    entries = [e for choice in middle if choice.logprobs for e in choice.logprobs.content]
    expected = whole.choices[0].logprobs.content
    assert [e.token for e in entries] == [e.token for e in expected]
    # The second one shared the first one's prompt: other sums, the last bits differ.
    assert [e.logprob for e in entries] == pytest.approx([e.logprob for e in expected], abs=1e-4)
    assert [choice.finish_reason for choice in middle] == [None] * (len(middle) - 1) + ["length"]
    assert events[-1].choices == []
    assert events[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(event.usage is None for event in events[:-1])
    assert len({event.id for event in events}) == 1


def test_accepted_blocks_arrive_in_one_piece(client):
    whole = chat(client, PROMPTS[1], max_tokens=40)
    expected = {"type": "content", "content": whole.choices[0].message.content}
    events = list(chat(client, PROMPTS[1], max_tokens=40, prediction=expected, stream=True))
    pieces = [event.choices[0].delta.content or "" for event in events]
    assert "".join(pieces) == expected["content"]
    assert sum(map(bool, pieces)) < whole.usage.completion_tokens / 2


def test_logprobs_belong_to_the_tokens(client, served_runner):
    choice = chat(client, logprobs=True, top_logprobs=3).choices[0]
    entries = choice.logprobs.content
    text = b"".join(bytes(entry.bytes) for entry in entries).decode(errors="replace")
    assert text == choice.message.content
    for entry in entries:
        assert len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].token == entry.token  # greedy: the likeliest was written
        assert entry.top_logprobs[0].logprob == entry.logprob <= 0
    assert chat(client, logprobs=True).choices[0].logprobs.content[0].top_logprobs == []
    assert chat(client).choices[0].logprobs is None


def test_several_choices_have_seeds_of_their_own(client):
    sampled = [chat(client, n=3, temperature=1.5, seed=7, max_tokens=10) for _ in range(2)]
    texts = [[choice.message.content for choice in reply.choices] for reply in sampled]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 3
    assert (
        texts[0][0]
        == chat(client, temperature=1.5, seed=7, max_tokens=10).choices[0].message.content
    )
    greedy = chat(client, n=3)
    assert len({choice.message.content for choice in greedy.choices}) == 1
    assert [choice.index for choice in greedy.choices] == [0, 1, 2]
    once = chat(client)
    assert greedy.usage.prompt_tokens == once.usage.prompt_tokens
    assert greedy.usage.completion_tokens == 3 * once.usage.completion_tokens
    pieces = ["", "", ""]
    for event in chat(client, n=3, temperature=1.5, seed=7, max_tokens=10, stream=True):
        for choice in event.choices:
            pieces[choice.index] += choice.delta.content or ""
    assert pieces == texts[0]


def test_negative_seeds_are_seeds(client):
    one, same, other = (
        chat(client, temperature=1.5, seed=seed).choices[0].message.content for seed in (-5, -5, 5)
    )
    assert one == same != other


def test_an_answer_ends_before_a_stop_string(client):
    text = chat(client, max_tokens=24).choices[0].message.content
    stop = text[len(text) // 2 :][:2]
    choice = chat(client, max_tokens=24, stop=["never there", stop]).choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.content == text[: text.index(stop)]
    streamed = chat(client, max_tokens=24, stop=stop, stream=True)
    assert "".join(e.choices[0].delta.content or "" for e in streamed) == choice.message.content


def test_max_completion_tokens_goes_before_max_tokens(client):
    reply = chat(client, max_completion_tokens=3)
    assert reply.usage.completion_tokens == 3
    assert chat(client, max_tokens=openai.omit).usage.completion_tokens <= 128


def test_a_bias_bans_a_token(client, served_runner):
    first = served_runner.generate(PROMPTS[0], max_tokens=1).tokens[0]
    entry = chat(client, logprobs=True, logit_bias={str(first): -100}).choices[0]
    other = served_runner.codec.tokenizer.id_to_token(first)
    assert entry.logprobs.content[0].token != other


def test_penalties_change_the_answer(client):
    plain = chat(client, max_tokens=40).choices[0].message.content
    for options in (
        {"presence_penalty": 2.0}, {"frequency_penalty": 2.0},
        {"extra_body": {"repetition_penalty": 5.0}},
    ):  # fmt: skip
        assert chat(client, max_tokens=40, **options).choices[0].message.content != plain


def test_sampling_fields_of_other_servers(client):
    greedy = chat(client).choices[0].message.content
    for extra in ({"top_k": 1}, {"min_p": 0.999999}, {"top_k": -1, "top_p": 1e-9}):
        reply = chat(client, temperature=1.5, seed=3, extra_body=extra)
        assert reply.choices[0].message.content == greedy


def test_a_prediction_is_drafted_and_accounted_for(client):
    text = chat(client, PROMPTS[5], max_tokens=40).choices[0].message.content
    stats = {"tascel": {"stats": True}, "task": "predicted"}
    for content in (text, [{"type": "text", "text": text}]):
        reply = chat(
            client, PROMPTS[5], max_tokens=40, prediction={"type": "content", "content": content},
            extra_body=stats,
        )  # fmt: skip
        assert reply.choices[0].message.content == text
        details = reply.usage.completion_tokens_details
        assert details.accepted_prediction_tokens > 0
        drafted = reply.choices[0].tascel["drafted"]["prediction"]
        assert drafted["accepted"] == details.accepted_prediction_tokens
        refused = drafted["offered"] - drafted["accepted"]
        assert details.rejected_prediction_tokens == refused
        assert reply.choices[0].tascel["steps"] < reply.usage.completion_tokens
    wrong = chat(client, PROMPTS[5], prediction={"type": "content", "content": "not this at all"})
    assert wrong.usage.completion_tokens_details.accepted_prediction_tokens == 0
    assert wrong.usage.completion_tokens_details.rejected_prediction_tokens > 0


def test_stats_come_with_streams_too(client):
    events = list(chat(client, stream=True, extra_body={"tascel": {"stats": True}}))
    assert events[-1].choices[0].tascel["tokens"] == 12
    assert not hasattr(chat(client).choices[0], "tascel")


def test_completions_take_text_lists_and_ids(client, served_runner):
    tokenizer = served_runner.codec.tokenizer
    ids = [tokenizer.encode(prompt).ids for prompt in PROMPTS[:2]]

    def complete(prompt, **options):
        return client.completions.create(model="toy", prompt=prompt, max_tokens=8, **options)

    one = [complete(prompt).choices[0].text for prompt in PROMPTS[:2]]
    assert complete(ids[0]).choices[0].text == one[0]
    for prompts in (PROMPTS[:2], ids):
        reply = complete(prompts)
        assert [choice.text for choice in reply.choices] == one
        assert reply.usage.prompt_tokens == len(ids[0]) + len(ids[1])
    both = complete(PROMPTS[:2], n=2, temperature=1.2, seed=4)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    alone = complete(PROMPTS[1], n=2, temperature=1.2, seed=4)
    assert [c.text for c in both.choices][2:] == [c.text for c in alone.choices]
    pieces = ["", ""]
    for event in complete(PROMPTS[:2], stream=True):
        pieces[event.choices[0].index] += event.choices[0].text
    assert pieces == one


def test_a_stream_may_begin_with_half_a_character(client, served_runner):
    first = served_runner.codec.output("é")[0]
    given = {"model": "toy", "prompt": "light", "max_tokens": 4, "logit_bias": {str(first): 100}}
    whole = client.completions.create(**given).choices[0].text
    assert whole == "\ufffd" * 4
    events = list(client.completions.create(**given, stream=True))
    assert "".join(event.choices[0].text for event in events) == whole


def test_completions_have_logprobs_in_columns(client):
    given = {"model": "toy", "prompt": PROMPTS[0], "max_tokens": 8, "logprobs": 2}
    reply = client.completions.create(**given)
    columns = reply.choices[0].logprobs
    written = reply.usage.completion_tokens - (reply.choices[0].finish_reason == "stop")
    assert len(columns.tokens) == len(columns.token_logprobs) == len(columns.text_offset) == written
    for token, value, top in zip(
        columns.tokens, columns.token_logprobs, columns.top_logprobs, strict=True
    ):
        assert len(top) == 2
        assert top[token] == value == max(top.values())
    assert columns.text_offset[0] == 0
    assert columns.text_offset == sorted(columns.text_offset)
    streamed = client.completions.create(**given, stream=True)
    offsets = [at for e in streamed for c in e.choices for at in c.logprobs.text_offset]
    assert offsets == columns.text_offset


def test_mixed_requests_at_once_get_the_answers_they_get_alone(live, served_runner):
    asked = [
        {"text": PROMPTS[i % 6], "max_tokens": 4 + i, "stream": i % 3 == 0, "logprobs": i % 2 == 0,
         "temperature": 1.0 if i % 4 == 3 else 0.0, "seed": i}
        for i in range(24)
    ]  # fmt: skip

    def answer(options):
        with live.client() as client:
            reply = chat(client, **options)
            if not options["stream"]:
                return reply.choices[0].message.content
            return "".join(event.choices[0].delta.content or "" for event in reply)

    alone = [answer(options) for options in asked]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(answer, asked))
    assert together == alone
    assert live.app.service.idle
