"""Side by side: every contender answers every prompt, interleaved, in one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tascel.bench.bootstrap import interval
from tascel.bench.contenders import Answer, Contender, unseen
from tascel.bench.memory import memory
from tascel.bench.steps import Recorder, by_task, drafting
from tascel.runner import Runner
from tascel.types import Request

#: Prompts that everyone answers before the clock counts.
WARM_UP = 1

Round = Mapping[str, Answer]


def interleave(
    runner: Runner,
    entrants: Mapping[str, Contender],
    requests: Sequence[Request],
    progress: Callable[[int, Round], None] = lambda done, round_: None,
) -> list[Round]:
    """Let all answer each request before the next one; who begins changes from prompt to prompt.

    Each reads the whole prompt: what one leaves in the cache would help the next.
    """
    runner.engine.prefixes = False
    runner.engine.forget()
    names = list(entrants)
    for request in requests[:WARM_UP]:
        for name in names:
            entrants[name](request)
    rounds: list[Round] = []
    for i, request in enumerate(requests):
        turn = names[i % len(names) :] + names[: i % len(names)]
        answers = {name: entrants[name](request) for name in turn}
        rounds.append({name: answers[name] for name in names})
        progress(i + 1, rounds[-1])
    return rounds


def report(
    runner: Runner,
    rounds: Sequence[Round],
    baseline: str = "none",
    recorder: Recorder | None = None,
) -> dict[str, Any]:
    """The stable output format of `bench` and `demo`; answers that do not stand verbatim in the
    bundle are also reported apart, and those of each task, by whose draft served them, where there
    are several. What a `recorder` heard of our answers becomes `drafting`."""
    fresh = [r for r in rounds if unseen(runner, r[baseline])]
    tasks = [r["tascel"].task for r in rounds]
    return {
        **setting(runner),
        "examples": len(rounds),
        "rows": table(rounds, baseline),
        "unseen": {"examples": len(fresh), "rows": table(fresh, baseline)},
        "prompts_by_task": dict(Counter(task for task in tasks if task is not None)),
        "tasks": [
            {"task": task, "examples": len(own), "rows": table([rounds[i] for i in own], baseline)}
            for task, own in by_task(tasks).items()
        ],
        "drafting": recorder and drafting(recorder.answers.values(), runner.price),
        "memory_bytes": memory(runner),
    }


def setting(runner: Runner) -> dict[str, Any]:
    """What was measured, as every report begins."""
    return {
        "model": runner.setting.model,
        "device": f"{runner.setting.device}, {runner.setting.machine}",
        "dtype": runner.setting.dtype,
        "head": runner.head,
        "price_file": runner.setting.file.name,
        "price_ms": [round(float(ms), 3) for ms in runner.price.ms[0]],
    }


def table(rounds: Sequence[Round], baseline: str = "none") -> list[dict[str, Any]]:
    """One row a contender, in the stable output format; times are sums over all prompts.

    `speedup` compares seconds per token after the prefill's token, `speedup_total` all seconds;
    `interval` is that total's 95 % paired-bootstrap interval; `identical` compares token ids with
    the baseline's. `rolled_back` is the share of a reduced head's tokens that were not kept.
    """
    if not rounds:
        return []
    return [_row(name, rounds, baseline) for name in rounds[0]]


def _row(name: str, rounds: Sequence[Round], baseline: str) -> dict[str, Any]:
    own = [r[name] for r in rounds]
    base = [r[baseline] for r in rounds]
    tokens = sum(len(a.tokens) for a in own)
    seconds = [a.prefill_seconds + a.decode_seconds for a in own]
    base_seconds = [a.prefill_seconds + a.decode_seconds for a in base]
    mismatches = sum(a.tokens != b.tokens for a, b in zip(own, base, strict=True))
    return {
        "name": name,
        "tokens": tokens,
        "seconds": sum(seconds),
        "tokens_per_second": tokens / sum(seconds),
        "speedup": _decode_rate(own, base) / _decode_rate(base, base),
        "speedup_total": sum(base_seconds) / sum(seconds),
        "tokens_per_step": tokens / sum(a.steps for a in own),
        "prefill_seconds": sum(a.prefill_seconds for a in own),
        "drafted_share": sum(sum(a.drafted.values()) for a in own) / tokens,
        "identical": mismatches == 0,
        "mismatches": mismatches,
        "interval": [*interval(base_seconds, seconds)],
        "by_source": dict(_by_source(own, tokens)),
        "rolled_back": _rolled_back(own),
    }


def _rolled_back(answers: Sequence[Answer]) -> float | None:
    """Which share of the tokens that a reduced head picked the whole one took back; None where it
    picked none."""
    offered = sum(a.offered.get("head", 0) for a in answers)
    return 1 - sum(a.drafted.get("head", 0) for a in answers) / offered if offered else None


def _decode_rate(answers: Sequence[Answer], base: Sequence[Answer]) -> float:
    """Tokens after the first per second after the baseline's prefill: what a proposal on the
    prefill pass costs counts as decoding, as what it brings does. A prefill that was quicker than
    the baseline's was so by chance, and makes no time for tokens up."""
    proposing = sum(
        a.prefill_seconds - b.prefill_seconds for a, b in zip(answers, base, strict=True)
    )
    seconds = max(0.0, proposing) + sum(a.decode_seconds for a in answers)
    return max(1, sum(len(a.tokens) - 1 for a in answers)) / max(seconds, 1e-9)


def _by_source(answers: Sequence[Answer], tokens: int) -> Iterator[tuple[str, float]]:
    for source in sorted({s for a in answers for s in a.drafted}):
        yield source, sum(a.drafted.get(source, 0) for a in answers) / tokens
