"""Prompts of a bundle's own records, for the page to offer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

import numpy as np

from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.errors import TascelError
from tascel.records import Records
from tascel.runner import Runner
from tascel.serve.access import Access
from tascel.serve.replies import Sample, SampleTurn

#: So many are offered, of each task about as many.
MOST = 48
#: Candidates for each: some cannot be written as turns again, and some say the same.
_TRIED = 4
#: Stand for a turn's text, to see what the template puts around it.
_SYSTEM, _USER = "Qsystemq", "Quserq"
#: Headers that proxies add.
_PASSED_ON = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def samples(runner: Runner, tenant: str | None) -> list[Sample]:
    """Some prompts that the bundle of `tenant`, or the runner's only one, has learned from; none if
    it was built not to quote its traces. Read from its files, so none that was forgotten since.

    Raises:
        BundleError: it is damaged, or gone.
    """
    bundle = runner.bundle if tenant is None else runner.tenants.get(tenant)
    if bundle is None:
        return []
    now = Bundle.open(bundle.path, runner.codec)
    if not now.manifest.settings.text or not now.record_files:
        return []
    records, turns = now.records_in(now.record_files[-1]), Turns(runner.codec)
    found: dict[tuple[SampleTurn, ...], str | None] = {}
    for at in _spread(records):
        messages = turns.read(records.prompts[at].tolist())
        if messages:
            found.setdefault(messages, records.tasks[at])
        if len(found) == MOST:
            break
    return [Sample(messages=list(messages), task=task) for messages, task in found.items()]


def may_show(access: Access, address: str) -> bool:
    """Whether past prompts may be shown at all: to those who have a key; without keys if the server
    listens at an `address` of this machine alone."""
    return access.guarded or ip_address(address).is_loopback


def asked_here(headers: Mapping[str, str]) -> bool:
    """Whether the headers (lower case) of a request without a key are those of a program on this
    machine. Anything may call itself by another name and lead here: a proxy, or another site in
    somebody's browser, whose name has come to mean 127.0.0.1 (DNS rebinding)."""
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        known = name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
    return known and not any(header in headers for header in _PASSED_ON)


class Turns:
    """Reads prompts back into a user's turn, and a system turn before it, by what the chat template
    writes around them. Whatever the template does, what is read makes the same prompt again."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._specials = [t.content for t in codec.tokenizer.get_added_tokens_decoder().values()]
        self._frames = [
            frame
            for roles in (("user",), ("system", "user"))
            if (frame := self._frame(roles)) is not None
        ]

    def read(self, prompt: list[int]) -> tuple[SampleTurn, ...] | None:
        """The turns of a prompt; None if it is made of others."""
        text = self._text(prompt)
        for roles, parts in self._frames:
            said = _between(text, parts)
            if said is None or any(mark in one for one in said for mark in self._specials):
                continue
            turns = tuple(SampleTurn(role=r, content=c) for r, c in zip(roles, said, strict=True))
            if self._ids(turns) == prompt:
                return turns
        return None

    def _frame(self, roles: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]] | None:
        """What the template writes before, between and behind turns of these roles."""
        words = {"system": _SYSTEM, "user": _USER}
        ids = self._ids(tuple(SampleTurn(role=role, content=words[role]) for role in roles))
        parts, rest = list[str](), self._text(ids or [])
        for role in roles:
            before, found, rest = rest.partition(words[role])
            if not found:  # the template has no such turn
                return None
            parts.append(before)
        return roles, [*parts, rest]

    def _ids(self, turns: tuple[SampleTurn, ...]) -> list[int] | None:
        try:
            return self._codec.prompt([turn.model_dump() for turn in turns]).tolist()
        except TascelError:  # the template refuses such turns
            return None

    def _text(self, ids: list[int]) -> str:
        return self._codec.tokenizer.decode(ids, skip_special_tokens=False)


def _between(text: str, parts: list[str]) -> list[str] | None:
    """What stands between `parts` in `text`; None if they do not make it up."""
    first, *middle, last = parts
    if not text.startswith(first) or not text.endswith(last):
        return None
    rest, said = text[len(first) : len(text) - len(last)], list[str]()
    for part in middle:
        before, found, rest = rest.partition(part)
        if not found:
            return None
        said.append(before)
    return [*said, rest]


def _spread(records: Records) -> Iterator[int]:
    """Numbers of records from all over, of all tasks in turns."""
    names = {task: at for at, task in enumerate(dict.fromkeys(records.tasks))}
    task_of = np.array([names[task] for task in records.tasks])
    each = -(-_TRIED * MOST // max(1, len(names)))
    lanes: list[list[int]] = []
    for task in names.values():
        own = np.flatnonzero(task_of == task)
        picked = np.linspace(0, len(own) - 1, min(each, len(own))).astype(int)
        lanes.append(own[picked].tolist())
    for turn in range(max(map(len, lanes), default=0)):
        yield from (lane[turn] for lane in lanes if turn < len(lane))
