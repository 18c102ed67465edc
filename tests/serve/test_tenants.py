"""Two tenants behind one address: keys, and that nothing of one is ever drafted for the other."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import tascel
from tascel.draft.price import Price
from tascel.errors import RequestError
from tascel.learning import LearnConfig
from tascel.serve.access import Access, read_keys, read_tenants
from tascel.types import Trace

CHAT = "/v1/chat/completions"
#: What each tenant's answers are written with; no prompt has any of it.
LETTERS = {"acme": "QRSTUV", "zoo": "012345"}
KEYS = {"acme": ["acme-key", "acme-new-key"], "zoo": ["zoo-key"]}
PROMPTS = ["turn on the light in the den", "turn on the light in the hall", "what is on in the den"]


@pytest.fixture(scope="module")
def bundles(served_folder, tmp_path_factory):
    """For each tenant a bundle, of the same prompts and its own answers."""
    folder = tmp_path_factory.mktemp("tenants")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASCEL_CACHE", str(folder / "cache"))
        for name, letters in LETTERS.items():
            traces = [
                Trace(
                    ({"role": "user", "content": f"{prompt} {'ab'[at % 2]}"},),
                    {"role": "assistant", "content": letters * 2 + letters[at % 5 :]},
                )
                for at, prompt in enumerate(PROMPTS * 8)
            ]
            tascel.build(traces, served_folder, folder / name)
    return folder


@pytest.fixture
def loaded(bundles, served_folder, tmp_path, monkeypatch):
    """`loaded()` is a runner of both, with copies of their bundles; it learns."""
    monkeypatch.setenv("TASCEL_CACHE", str(bundles / "cache"))
    count = iter(range(100))

    def load(learn=None, **options):
        home = tmp_path / str(next(count))
        for name in LETTERS:
            shutil.copytree(bundles / name, home / name)
        tenants = {name: home / name for name in LETTERS}
        learn = learn or LearnConfig(background=False, flush=0.0)
        runner = tascel.load(None, model=served_folder, tenants=tenants, learn=learn, **options)
        runner.price = Price.from_points({1: 1.0, 33: 1.6})
        return runner

    return load


@pytest.fixture
def asked(tokenizer):
    """`asked(tenant, prompt)` is a request whose answer has only the tenant's letters."""
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")

    def make(tenant, prompt):
        ids = [*map(tokenizer.convert_tokens_to_ids, LETTERS[tenant]), end]
        return {
            "messages": [{"role": "user", "content": prompt}],
            "logit_bias": {str(id_): 100 for id_ in ids},
            "frequency_penalty": 2,
            "tascel": {"stats": True},
        }

    return make


def header(key):
    return {"Authorization": f"Bearer {key}" if key else "Bearer"}


class Spy:
    """Notes whose row every drafted id was offered to, and whose rows shared a pass."""

    def __init__(self, engine, monkeypatch):
        self.whose, self.offered, self.mixed = {}, {name: [] for name in LETTERS}, 0
        opening, checking = engine.open, engine.check

        def open_(prompt, size, tenant=None):
            row, shared = opening(prompt, size, tenant)
            self.whose[id(row)] = row, tenant  # kept: no id comes twice
            return row, shared

        def check(rows, leads, proposals):
            names = [self.whose[id(row)][1] for row in rows]
            self.mixed += len({*names}) > 1 and any(map(len, proposals))
            for name, proposal in zip(names, proposals, strict=True):
                self.offered[name] += proposal.tokens.tolist()
            return checking(rows, leads, proposals)

        monkeypatch.setattr(engine, "open", open_)
        monkeypatch.setattr(engine, "check", check)


def test_nothing_of_one_is_drafted_for_the_other(loaded, asked, living, tokenizer, monkeypatch):
    ids = {name: {*map(tokenizer.convert_tokens_to_ids, word)} for name, word in LETTERS.items()}
    new = "is the light on in the hall"
    with loaded() as runner, living(runner, tenants=KEYS) as live:
        spy = Spy(runner.engine, monkeypatch)
        answers = []

        def ask(tenant, prompt):
            reply = live.post(CHAT, asked(tenant, prompt), headers=header(KEYS[tenant][0]))
            assert reply.status_code == 200, reply.text
            choice = reply.json()["choices"][0]
            assert choice["finish_reason"] == "stop"
            assert {*choice["message"]["content"]} <= {*LETTERS[tenant]}
            answers.append((tenant, choice))

        for _ in range(2):  # the second time all was learned online
            live.pace.hold()
            before = live.health()[1]
            assert before["running"] == before["waiting"] == 0
            threads = [
                threading.Thread(target=ask, args=(tenant, prompt))
                for prompt in (*PROMPTS, new)
                for tenant in LETTERS
            ]
            for thread in threads:
                thread.start()
            live.until(lambda: live.health()[1]["waiting"] == len(threads), "all have come")  # noqa: B023
            live.pace.free()
            for thread in threads:
                thread.join(60)
        assert len(answers) == 16
        assert spy.mixed
        for name, other in (("acme", "zoo"), ("zoo", "acme")):
            assert ids[name] & {*spy.offered[name]}, "its own is drafted"
            assert not ids[other] & {*spy.offered[name]}
            stats = runner.draft.drafts[name].stats()
            assert stats.learned == 8
            assert stats.errors == 0
            told = runner.tenants[name].path.rglob("learned/*")
            assert list(told), "what was learned is in its own bundle"
        assert live.app.service.worker.alive
        figures = live.app.service.metrics.text().decode()
    for name in LETTERS:
        assert f'tascel_learn_answers_total{{tenant="{name}"}} 8.0' in figures
        assert f'tascel_answers_total{{end="stop",task="",tenant="{name}"}} 8.0' in figures
    # The records of each hold its own answers alone.
    for name, bundle in runner.tenants.items():
        records = tascel.bundle.Bundle.open(bundle.path).records()
        written = {id_ for at in range(len(records)) for id_ in records.outputs[at].tolist()}
        assert ids[name] <= written
        assert not written & ids["zoo" if name == "acme" else "acme"]


def test_what_one_does_changes_nothing_for_the_other(loaded, asked, living):
    def told(live, tenant, prompt):
        reply = live.post(CHAT, asked(tenant, prompt), headers=header(KEYS[tenant][0])).json()
        cost = reply["choices"][0]["tascel"]
        kept = {name: cost[name] for name in ("steps", "tokens", "drafted")}
        return reply["choices"][0]["message"], reply["usage"], kept

    prompts = [*PROMPTS, PROMPTS[0], "is the light on in the hall", PROMPTS[1]]
    with loaded() as runner, living(runner, tenants=KEYS) as live:
        alone = [told(live, "zoo", prompt) for prompt in prompts]
    with loaded() as runner, living(runner, tenants=KEYS) as live:
        beside = []
        for prompt in prompts:
            first = told(live, "acme", prompt)  # the very same prompt, just before
            beside.append(told(live, "zoo", prompt))
            assert first[1]["prompt_tokens"] == beside[-1][1]["prompt_tokens"]
    assert beside == alone
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for _, usage, _ in alone]
    assert cached[0] == 0
    assert cached[3] > 0
    assert sum(sum(d["accepted"] for d in cost["drafted"].values()) for _, _, cost in alone)


def test_learning_beside_answering_changes_no_answer(loaded, asked, living, served_folder):
    prompts = [f"is the light on in room {'abc'[at % 3]}" for at in range(12)]
    bodies = [(name, asked(name, prompt)) for prompt in prompts for name in LETTERS]
    for at in range(0, len(bodies), 5):  # sampled ones, too
        bodies[at][1].update(temperature=0.7, seed=at)

    def answers(runner, **options):
        def ask(named):
            name, body = named
            reply = live.post(CHAT, body, headers=header(KEYS[name][0]))
            return reply.json()["choices"][0]["message"]["content"]

        with (
            runner,
            living(runner, **options) as live,
            ThreadPoolExecutor(6) as pool,
        ):
            return list(pool.map(ask, bodies))

    learning = loaded(learn=LearnConfig(flush=0.05))
    plain = tascel.load(None, model=served_folder)
    assert answers(learning, tenants=KEYS) == answers(plain)
    stats = [draft.stats() for draft in learning.draft.drafts.values()]
    assert [(one.learned, one.unflushed, one.errors) for one in stats] == [(12, 0, 0)] * 2
    assert all(one.traces < 12 for one in stats)  # what came again is there once


def test_a_key_says_who_asks(loaded, asked, living):
    with loaded() as runner, living(runner, tenants=KEYS, key="operator-key") as live:
        for key in ("acme-key", "acme-new-key", "zoo-key"):
            models = httpx.get(f"{live.url}/v1/models", headers=header(key))
            assert [card["id"] for card in models.json()["data"]] == ["toy"]
            assert not any(name in models.text for name in LETTERS)
        for key in ("operator-key", "", "acme", "zoo-key2", "ünd"):
            headers = {name: said.encode() for name, said in header(key).items()}
            for path in ("/v1/models", "/v1/models/toy"):
                assert httpx.get(f"{live.url}{path}", headers=headers).status_code == 401
            reply = live.post(CHAT, asked("acme", "light"), headers=headers)
            assert reply.status_code == 401
            assert reply.json()["error"]["code"] == "invalid_api_key"
        assert live.post(CHAT, {}).status_code == 401
        for key, status in (("zoo-key", 401), ("", 401), ("operator-key", 200)):
            reply = httpx.get(f"{live.url}/metrics", headers=header(key))
            assert reply.status_code == status
        assert httpx.get(f"{live.url}/health").status_code == 200
    with loaded() as runner, living(runner, tenants=KEYS) as live:
        for key in ("zoo-key", "None", ""):
            assert httpx.get(f"{live.url}/metrics", headers=header(key)).status_code == 401


def test_a_full_queue_is_its_own(loaded, asked, living):
    with loaded() as runner, living(runner, tenants=KEYS, rows=1, queue=1) as live:
        live.pace.hold()
        body = asked("acme", "light") | {"max_tokens": 2}
        done = []

        def ask(key):
            done.append(live.post(CHAT, body, headers=header(key)).status_code)

        threads = [threading.Thread(target=ask, args=("acme-key",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        live.until(lambda: live.health()[1]["waiting"] == 2, "both have come")
        full = live.post(CHAT, body, headers=header("acme-new-key"))
        assert full.status_code == 429
        threads.append(threading.Thread(target=ask, args=("zoo-key",)))
        threads[-1].start()
        live.until(lambda: live.health()[1]["waiting"] == 3, "the other one is let in")
        live.pace.free()
        for thread in threads:
            thread.join(60)
        assert done == [200] * 3


def test_bundles_and_heads_that_tenants_cannot_have(bundles, served_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TASCEL_CACHE", str(bundles / "cache"))
    both = {name: bundles / name for name in LETTERS}
    (tmp_path / "link").symlink_to(bundles / "acme")
    for options, told in (
        ({"tenants": {"a": bundles / "acme", "b": tmp_path / "link"}}, "have one bundle"),
        ({"tenants": both, "head": "fast"}, "every tenant has its own"),
    ):
        with pytest.raises(RequestError, match=told):
            tascel.load(None, model=served_folder, **options)
    with pytest.raises(RequestError, match="one or the other"):
        tascel.load(bundles / "acme", model=served_folder, tenants=both)


def test_a_prompt_of_nobody_is_answered_without_drafts(loaded):
    with loaded() as runner:
        answer = runner.generate(PROMPTS[0], max_tokens=20)
        assert not answer.stats.offered
        known = runner.generate(PROMPTS[0], max_tokens=20, tenant="acme")
        assert known.tokens == answer.tokens


def test_keys_are_read_from_variables_and_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# ours\n\nacme one\nzoo-2 two\nacme three\n", encoding="utf-8")
    found = read_keys(["acme", "zoo-2"], file, {"TASCEL_API_KEY_ZOO_2": " four five "})
    assert found == {"acme": ["one", "three"], "zoo-2": ["four", "five", "two"]}
    access = Access.of("operator", found)
    assert access.admit("/v1/models", "bearer  three ") == "acme"
    assert "three" not in repr(access)


@pytest.mark.parametrize(
    ("lines", "told"),
    [("acme", "line 1: is not NAME KEY"), ("acme a\nnobody secret", "line 2: no tenant is called"),
     ("acme a b", "line 1"), ("", "tenant acme has no key")],
)  # fmt: skip
def test_keys_that_cannot_be(tmp_path, lines, told):
    file = tmp_path / "keys"
    file.write_text(lines, encoding="utf-8")
    with pytest.raises(RequestError, match=told) as raised:
        read_keys(["acme"], file, {})
    assert "secret" not in str(raised.value)
    with pytest.raises(RequestError, match="cannot be read"):
        read_keys(["acme"], tmp_path / "none", {})


@pytest.mark.parametrize("key", [None, "one", "other"])
def test_one_key_has_one_owner(key):
    with pytest.raises(RequestError, match="the same key"):
        Access.of(key, {"acme": ["one"], "zoo": ["other", "one" if key != "other" else "two"]})


@pytest.mark.parametrize("given", [["acme"], ["=b"], ["a b=c"], ["acme="], ["a=b", "a=c"]])
def test_tenants_that_cannot_be(given):
    with pytest.raises(RequestError, match="--tenant"):
        read_tenants(given)


def test_tenants_are_names_and_folders():
    assert {k: str(v) for k, v in read_tenants(["a=b", "c.d-e_1=/f=g"]).items()} == {
        "a": "b", "c.d-e_1": "/f=g",
    }  # fmt: skip
