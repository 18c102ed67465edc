"""Does a server hold under load: many clients, some that leave early, some that read slowly?

    python benchmarks/serve_load.py BUNDLE PROMPTS --model MODEL [--adapter A] --json FILE

Starts `tascel serve` as a process and asks it without pause. Of the clients' requests half are
streamed; a tenth is broken off after the first piece, a tenth read a little at a time. Every second
the process' memory, open files, threads and queue are written down. Ends with exit code 1 if any
request failed, or if anything was left open behind the last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np

from tascel.bench.prompts import prompts
from tascel.engines.profile import machine

SERVE = [sys.executable, "-c", "from tascel.cli import main; main()", "serve"]
KINDS = {"whole": 0.4, "stream": 0.4, "abort": 0.1, "slow": 0.1}
#: A slow reader takes so many bytes at a time, and then rests for so many seconds.
SIP, REST = 256, 0.05


class Load:
    """What the clients did and what came of it."""

    def __init__(self, url: str, messages: Sequence[Any], max_tokens: int, seed: int) -> None:
        self.url, self.messages, self.max_tokens = url, messages, max_tokens
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []
        self.refused = self.tokens = self.drafted = 0
        self.seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.first: list[float] = []

    async def client(self, until: float) -> None:
        """One client: one request after the other."""
        async with httpx.AsyncClient(timeout=120) as http:
            while perf_counter() < until:
                kind = self.random.choices(list(KINDS), list(KINDS.values()))[0]
                try:
                    await self.ask(http, kind)
                except Exception as error:
                    self.errors.append(f"{kind}: {error!r}")

    async def ask(self, http: httpx.AsyncClient, kind: str) -> None:
        """One request, and what its kind does with the answer."""
        body: dict[str, Any] = {
            "messages": self.random.choice(self.messages),
            "max_tokens": self.max_tokens,
            "task": kind,
        }
        if kind != "whole":
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        started = perf_counter()
        async with http.stream("POST", f"{self.url}/chat/completions", json=body) as response:
            if response.status_code == 429:
                self.refused += 1
                await asyncio.sleep(float(response.headers["retry-after"]))
                return
            if response.status_code != 200:
                raise RuntimeError(f"{response.status_code} {(await response.aread())[:200]!r}")
            usage = await self.read(response, kind, started)
        if kind == "abort":
            self.done[kind] += 1
            return
        assert usage is not None, "no usage"
        self.done[kind] += 1
        self.tokens += usage["completion_tokens"]
        self.seconds[kind].append(perf_counter() - started)

    async def read(self, response: httpx.Response, kind: str, started: float) -> Any:
        """The usage that the answer ends with."""
        if kind == "whole":
            return json.loads(await response.aread())["usage"]
        seen = b""
        async for piece in response.aiter_bytes(SIP if kind == "slow" else None):
            if not seen:
                self.first.append(perf_counter() - started)
            seen += piece
            if kind == "abort":
                return None
            if kind == "slow":
                await asyncio.sleep(REST)
        lines = [line[6:] for line in seen.split(b"\n") if line.startswith(b"data: ")]
        if lines[-1:] != [b"[DONE]"]:
            raise RuntimeError(f"the stream broke off: {seen[-200:]!r}")
        return json.loads(lines[-2])["usage"]


async def watch(pid: int, root: str, samples: list[dict[str, float]]) -> None:
    """Note the server's state every second, until cancelled."""
    started = perf_counter()
    async with httpx.AsyncClient(timeout=60) as http:
        while True:
            samples.append(await state(http, pid, root) | {"at": perf_counter() - started})
            await asyncio.sleep(1)


async def state(http: httpx.AsyncClient, pid: int, root: str) -> dict[str, float]:
    """Memory, files, threads and queue of the server now."""
    status = Path(f"/proc/{pid}/status").read_text()
    health = (await http.get(f"{root}/health")).json()
    return {
        "rss_mb": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024,  # type: ignore[index]
        "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),  # type: ignore[index]
        "files": len(os.listdir(f"/proc/{pid}/fd")),
        "running": health["running"],
        "waiting": health["waiting"],
    }


def growth(samples: Sequence[dict[str, float]]) -> float:
    """Megabytes a minute that memory grew by in the second half, by least squares."""
    late = samples[len(samples) // 2 :]
    if len(late) < 3:
        return 0.0
    return float(np.polyfit([s["at"] for s in late], [s["rss_mb"] for s in late], 1)[0]) * 60


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Of a list of seconds."""
    points = {"p50": 50, "p90": 90, "p99": 99, "most": 100}
    if not seconds:
        return {}
    return {name: round(float(np.percentile(seconds, q)), 4) for name, q in points.items()}


def counters(text: str) -> dict[str, float]:
    """The server's own counters, without times."""
    lines = [line for line in text.splitlines() if re.match(r"tascel_\w+_total", line)]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def run(args: argparse.Namespace, log: Any) -> dict[str, Any]:
    """Start the server, load it, end it, and say what happened."""
    asked = [trace.messages for trace in prompts(args.prompts, args.split, args.limit)]
    options = ["--model", args.model, "--port", "0", "--rows", str(args.rows)]
    options += ["--adapter", args.adapter] if args.adapter else []
    server = await asyncio.create_subprocess_exec(
        *SERVE, args.bundle, *options, stderr=log, env=os.environ | {"COLUMNS": "200"}
    )
    try:
        while not (found := re.search(r" at (http://\S+)/v1", Path(log.name).read_text())):
            if server.returncode is not None:
                raise SystemExit(Path(log.name).read_text())
            await asyncio.sleep(0.2)
        root = found[1]
        async with httpx.AsyncClient(timeout=120) as http:
            while True:
                with suppress(httpx.ConnectError):
                    before = await state(http, server.pid, root)
                    break
                await asyncio.sleep(0.2)
            load = Load(f"{root}/v1", asked, args.max_tokens, args.seed)
            samples: list[dict[str, float]] = []
            watching = asyncio.create_task(watch(server.pid, root, samples))
            started = perf_counter()
            await asyncio.gather(
                *(load.client(started + args.seconds) for _ in range(args.clients))
            )
            seconds = perf_counter() - started
            watching.cancel()
            await asyncio.sleep(6)  # idle connections are closed after five seconds
            after = await state(http, server.pid, root)
            told = counters((await http.get(f"{root}/metrics")).text)
        server.send_signal(signal.SIGTERM)
        ended = await server.wait()
    finally:
        with suppress(ProcessLookupError):
            server.kill()
    return {
        "clients": args.clients,
        "rows": args.rows,
        "max_tokens": args.max_tokens,
        "machine": machine(),
        "seconds": round(seconds, 1),
        "requests": dict(load.done),
        "refused": load.refused,
        "errors": len(load.errors),
        "first_errors": load.errors[:10],
        "exit_code": ended,
        "tokens_per_second": round(load.tokens / seconds, 1),
        "latency": {kind: percentiles(took) for kind, took in load.seconds.items() if took},
        "first_piece": percentiles(load.first),
        "before": before,
        "after": after,
        "rss_growth_mb_a_minute": round(growth(samples), 2),
        "samples": samples,
        "server": told,
        "log": Path(log.name).read_text(errors="replace").splitlines()[-20:],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("prompts")
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        told = asyncio.run(run(args, log))
    args.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    left = told["after"]["running"] + told["after"]["waiting"]
    shown = ("requests", "refused", "errors", "tokens_per_second", "latency", "first_piece")
    print(json.dumps({name: told[name] for name in shown}, indent=1))
    print(f"RSS {told['before']['rss_mb']:.0f} → {told['after']['rss_mb']:.0f} MB, "
          f"{told['rss_growth_mb_a_minute']} MB a minute in the second half")  # fmt: skip
    raise SystemExit(1 if told["errors"] or left or told["exit_code"] else 0)


if __name__ == "__main__":
    main()
