"""The prompts that a bundle offers: its own, as turns that make the same prompt again."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest

import tascel
from tascel.building.config import BuildConfig
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.serve.access import Access
from tascel.serve.samples import MOST, Turns, asked_here, may_show, samples
from tascel.types import Trace


@pytest.fixture(scope="module")
def codec(served_folder):
    return Codec.from_pretrained(served_folder)


def trace(*turns, task=None):
    roles = ("system", "user") if len(turns) == 2 else ("user",)
    messages = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=True)]
    return Trace(tuple(messages), {"role": "assistant", "content": "the lamp is on"}, task=task)


@pytest.fixture
def offered(served_folder, codec, tmp_path, monkeypatch):
    """`offered(traces)` are the samples of a bundle built from them."""
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))

    def offer(traces, **config):
        folder = tmp_path / "bundle"
        tascel.build(traces, served_folder, folder, config=BuildConfig(**config))
        bundle = Bundle.open(folder)
        return samples(SimpleNamespace(bundle=bundle, codec=codec, tenants={}), None)

    return offer


def said(found):
    return {tuple((turn.role, turn.content) for turn in sample.messages) for sample in found}


def test_prompts_come_back_as_they_were_asked(offered):
    asked = [("light 1",), ("Be brief.", "light 2"), ("",), ("two\nlines",), ("light 1",)] * 3
    assert said(offered([trace(*turns) for turns in asked])) == {
        (("user", "light 1"),), (("system", "Be brief."), ("user", "light 2")),
        (("user", ""),), (("user", "two\nlines"),),
    }  # fmt: skip


def test_all_tasks_are_among_many(offered):
    many = [trace(f"light {i}", task="lights") for i in range(300)]
    few = [trace(f"song {i}", task="songs") for i in range(12)]
    found = offered(many + few)
    assert len(found) == len(said(found)) == MOST
    assert sum(sample.task == "songs" for sample in found) == 12


def test_a_bundle_that_quotes_nothing_offers_nothing(offered):
    assert offered([trace(f"light {i}") for i in range(9)], text=False) == []


def test_each_tenant_is_offered_its_own(served_folder, codec, tmp_path, monkeypatch):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    for name in ("acme", "zoo"):
        traces = [trace(f"{name} {i}") for i in range(9)]
        tascel.build(traces, served_folder, tmp_path / name)
    tenants = {name: Bundle.open(tmp_path / name) for name in ("acme", "zoo")}
    runner = SimpleNamespace(bundle=None, codec=codec, tenants=tenants)
    for name in tenants:
        prompts = {text for ((_, text),) in said(samples(runner, name))}
        assert prompts == {f"{name} {i}" for i in range(9)}
    assert samples(runner, None) == samples(runner, "nobody") == []


def test_what_is_gone_from_the_files_is_offered_no_more(
    served_folder, codec, tmp_path, monkeypatch
):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "bundle"
    tascel.build([trace(f"light {i}") for i in range(9)], served_folder, folder)
    runner = SimpleNamespace(bundle=Bundle.open(folder), codec=codec, tenants={})
    assert len(samples(runner, None)) == 9
    tascel.build([trace(f"lamp {i}") for i in range(6)], served_folder, folder)
    assert {text for ((_, text),) in said(samples(runner, None))} == {f"lamp {i}" for i in range(6)}


def test_other_conversations_are_left_out(codec):
    turns = Turns(codec)
    long = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    assert turns.read(codec.prompt(long).tolist()) is None
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert turns.read(codec.prompt("x", tools).tolist()) is None
    assert turns.read([1, 2, 3]) is None


def test_without_a_key_they_stay_on_this_machine():
    for address, shown in (("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False)):
        assert may_show(Access.of(), address) is shown
        assert may_show(Access.of("s3cret"), address)
        assert may_show(Access.of(None, {"acme": ["a"]}), address)


HERE = ("127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "127.0.0.2")
ELSEWHERE = ("", "a.example:8000", "localhost.a.example", "192.168.0.7", "0.0.0.0", "[::1", "a:b")


def test_without_a_key_they_are_for_programs_of_this_machine_alone(live):
    """Neither for a site whose name leads here, nor for whom a proxy speaks for."""
    for host in HERE:
        assert asked_here({"host": host}), host
    for host in ELSEWHERE:
        assert not asked_here({"host": host}), host

    def shown(**headers):
        head = {name.replace("_", "-"): value for name, value in headers.items()}
        return len(httpx.get(f"{live.url}/v1/samples", headers=head).json()["data"])

    assert shown() == shown(host="localhost") == 4
    assert shown(host="a.example") == shown(x_forwarded_for="192.0.2.1") == 0


def test_they_are_guarded_and_can_be_left_out(start, served_runner):
    with start(key="s3cret") as live:
        assert httpx.get(f"{live.url}/v1/samples").status_code == 401
        head = {"Authorization": "Bearer s3cret"}
        found = httpx.get(f"{live.url}/v1/samples", headers=head).json()["data"]
        assert {sample["messages"][0]["content"] for sample in found} == {
            f"light {i} in the den" for i in range(4)
        }
    with start(samples=False) as live:
        assert httpx.get(f"{live.url}/v1/samples").json()["data"] == []
