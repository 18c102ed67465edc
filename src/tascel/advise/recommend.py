"""One recommendation in plain words, with the commands to run, in the order of what they bring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tascel.advise import commands
from tascel.advise.commands import Asked
from tascel.engines.known import ENGINES

#: Less than this is no gain worth a bundle, or another engine.
WORTH = 1.05
#: Training costs hours and must be judged: so many times fewer tokens at least. Tasks on which it
#: was worth it had four times fewer (docs/new-tokens.md).
_FEWER = 1.5
#: A step must read a tenth less for a smaller head to show: where it was a fifth, answers without
#: drafts came 1.05 to 1.14 times as fast (docs/tailor.md).
_STEP = 0.9
#: Drafts let the whole head score few positions anyway: nothing was gained on top of them where the
#: head was a fifth of the weights, 1.14 times where it was half.
_STEP_DRAFTED = 0.6
#: So many tokens in one pass for the price of four single ones: half of a draft of eight must be
#: right only to break even.
_STEEP = 4.0
#: With fewer replayed answers an interval says little.
_FEW = 20
#: Steps that help with nothing of their own.
_BESIDE = ("measure", "install", "why", "tasks")
#: Shares of answers that are worth a word.
_MANY, _MOST = 0.1, 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: `kind`, why in `words`, and how in `commands`."""

    kind: str
    words: str
    commands: Sequence[str] = field(default_factory=tuple[str, ...])


def recommend(content: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """What to do about what was found. `kind` says what helps most: "drafts", "engine" (a quicker
    one, without drafts), "new-tokens", "tailor" or "nothing"; `steps` are in order of value,
    `words` and `commands` those of all of them; `cautions` is what else to know."""
    steps = [*_steps(content, asked)]
    kinds = [step.kind for step in steps if step.kind not in _BESIDE]
    return {
        "kind": kinds[0] if kinds else "nothing",
        "words": " ".join(step.words for step in steps),
        "commands": [command for step in steps for command in step.commands],
        "steps": [asdict(step) for step in steps],
        "cautions": [*_cautions(content)],
    }


def pays(line: dict[str, Any]) -> bool:
    """Whether drafts are worth it at one price, for new groups of requests or for known ones."""
    ways = (line, line["alike"]) if line["alike"] else (line,)
    return any(way["drafted_ms"] * WORTH < way["plain_ms"] for way in ways)


def milliseconds(line: dict[str, Any]) -> float:
    """What an answer takes, with drafts where they pay."""
    return line["drafted_ms"] if pays(line) else line["plain_ms"]


def title(line: dict[str, Any]) -> str:
    """What people call an engine's line."""
    count = line["threads"]
    threads = f"{count} thread{'s' if count > 1 else ''}"
    where = threads if line["device"] == "cpu" else line["device"]
    name = ENGINES[line["engine"]].title
    return f"{name}, {Path(line['model']).name}, {line['dtype']} on {where}"


def _steps(content: dict[str, Any], asked: Asked) -> Iterator[Step]:
    ranked, best = content["engines"], content["foretold"]
    if not ranked:
        yield _unmeasured(content, asked)
    drafts, small, shorter = pays(best), _tailor(content, asked), _new_tokens(content, asked)
    if ranked and (drafts or len(ranked) > 1):
        yield _engine(ranked, content["to_measure"], asked)
    elif drafts:
        yield _drafts(best, asked)
    if not drafts:
        others = [step for step in (shorter, small) if step is not None]
        yield from [*([] if len(ranked) > 1 else [_nothing(content, bool(others))]), *others]
        return
    if shorter is not None:
        yield shorter
    if small is not None:
        yield small
    if content["tasks"]:
        yield Step(
            "tasks",
            f"{len(content['tasks'])} tasks were found: `tascel build` gives each a draft of its "
            "own, and prompts are routed without being told.",
        )


def _unmeasured(content: dict[str, Any], asked: Asked) -> Step:
    said = "so figures are estimates with the passes of SmolLM2-135M in bfloat16 on 2 CPU cores"
    if content["to_measure"]:
        do = [entry["do"] for entry in content["to_measure"]]
        return Step("measure", f"Nothing was measured on this machine yet, {said}: measure.", do)
    if not asked.weights:
        return Step("measure", f"{asked.model} holds no weights, {said}.")
    return Step(
        "install",
        f"No engine that could run these models is installed, {said}: see what to do about each.",
    )


def _drafts(best: dict[str, Any], asked: Asked) -> Step:
    return Step(
        "drafts",
        f"Build a bundle and serve with it: with drafts answers come {_gain(best)}; "
        f"{best['tokens_per_pass']:.1f} tokens a pass.",
        asked.start(),
    )


def _engine(
    ranked: Sequence[dict[str, Any]], to_measure: Sequence[dict[str, Any]], asked: Asked
) -> Step:
    """The engine that answers soonest, and the one after it."""
    first, *others = ranked
    drafts = pays(first)
    said = [f"Take {title(first)}: {milliseconds(first):,.0f} ms an answer"]
    if drafts:
        said[0] += f" with drafts, {_gain(first)}."
    else:
        said[0] += ". Drafts would not pay there: it needs no bundle."
    if others:
        said.append(_next(first, others[0]))
    if first["rounded"]:
        said.append(_rounded(others))
    if to_measure:
        names = ", ".join(f"{ENGINES[e['engine']].title} ({e['model']})" for e in to_measure)
        said.append(f"Not measured yet: {names}.")
    kind = "drafts" if drafts else "engine"
    return Step(kind, " ".join(said), commands.run(first, asked, drafts))


def _gain(line: dict[str, Any]) -> str:
    low, high = line["interval"]
    said, alike = f"{line['gain']:.1f} times as fast (95 %: {low:.1f} to {high:.1f})", line["alike"]
    if alike is None:
        return said
    low, high = alike["interval"]
    return (
        f"{said} for groups of requests that were never seen and {alike['gain']:.1f} times "
        f"({low:.1f} to {high:.1f}) for those of the traces"
    )


def _next(first: dict[str, Any], second: dict[str, Any]) -> str:
    over = milliseconds(second) / milliseconds(first)
    if over < WORTH:
        return f"{title(second)} takes about as long."
    return f"{title(second)} takes {over:.1f} times as long."


def _rounded(others: Sequence[dict[str, Any]]) -> str:
    whole = next((line for line in others if not line["rounded"]), None)
    said = "Its weights are rounded: score its answers on your task before you rely on them"
    return f"{said}." if whole is None else f"{said}; {title(whole)} rounds none."


def _new_tokens(content: dict[str, Any], asked: Asked) -> Step | None:
    """Where writing still takes longer than reading, answers stay long enough to be shortened."""
    best, line = content["tokens"]["best"], content["foretold"]
    writing = milliseconds(line) - line["reading_ms"]
    if best is None or best["fewer"] < _FEWER or writing <= line["reading_ms"]:
        return None
    return Step(
        "new-tokens",
        f"If the model may be fine-tuned: {best['rows']:,} new tokens would write held-out answers "
        f"with {best['fewer']:.1f} times fewer tokens; build the bundle for that model then.",
        [asked.finetune()] if asked.published and asked.weights else [],
    )


def _tailor(content: dict[str, Any], asked: Asked) -> Step | None:
    head, drafts = content["vocabulary"]["head"], pays(content["foretold"])
    if head is None or head["step"] > (_STEP_DRAFTED if drafts else _STEP):
        return None
    return Step(
        "tailor",
        f"A head of {content['vocabulary']['rows']:,} of {head['model']['rows']:,} rows gives the "
        f"same answers and reads {1 - head['step']:.0%} less a step; on a GPU it frees "
        f"{(head['now_bytes'] - head['then_bytes']) / 1e6:,.0f} MB.",
        [*([] if drafts else [asked.build()]), asked.tailor()] if asked.published else [],
    )


def _nothing(content: dict[str, Any], otherwise: bool) -> Step:
    """Why drafts do not help, by the number that says so."""
    line, runs = content["foretold"], content["repeated"]["runs"]
    least = line["reading_ms"] + line["step_ms"]
    if line["plain_ms"] < WORTH * least:
        why = (
            f"an answer has {content['answer_tokens']:.1f} tokens with its closing one: the "
            "prompt's reading brings the first, and one more pass the others at best, which is "
            f"{min(1.0, least / line['plain_ms']):.0%} of the time that it takes without drafts"
        )
    elif line["wide"] >= _STEEP:
        why = (
            f"a pass that checks eight tokens takes {line['wide']:.1f} times as long here as one "
            "of a single token"
        )
    else:
        again = next((runs[n] for n in ("8", "4") if runs[n] is not None), 0.0)
        why = (
            f"a pass would write only {line['tokens_per_pass']:.2f} tokens of held-out answers: "
            f"{again:.0%} of what answers say stands in others, too, and "
            f"{content['copied']['words']['2']:.0%} of their words are copied from the prompt"
        )
    begin = "Drafts will not help you" if otherwise else "This will not help you"
    return Step("why" if otherwise else "nothing", f"{begin}, because {why}.")


def _cautions(content: dict[str, Any]) -> Iterator[str]:
    lengths, line = content["lengths"], content["foretold"]
    if content["replayed"] < _FEW:
        yield (
            f"Only {content['replayed']} answers could be replayed and {content['learned']} "
            "learned from: collect some hundred before you rely on the figures."
        )
    elif pays(line) and line["interval"][0] < WORTH:
        yield "The gain is not sure: its 95 % interval holds less than 5 %. More traces tell."
    if content["repeated"]["distinct"] == 1 < lengths["answers"]:
        yield "All answers are the same: no model is needed to give them."
    if lengths["empty"] >= _MANY:
        yield f"{lengths['empty']:.0%} of the answers are empty: are the traces what you meant?"
    if lengths["one_token"] >= _MOST:
        yield (
            f"{lengths['one_token']:.0%} of the answers are one token: reading the prompt brings "
            "it, and nothing is left to draft."
        )
    if content["refused"]:
        yield f"The chat template refuses {content['refused']:,} of the traces; they are left out."
