"""The Python of docs/constraints.md, run as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tascel.builder import build

PAGE = Path(__file__).parents[2] / "docs" / "constraints.md"


def test_constraints_can_be_followed(toy, tokenizer, tmp_path, monkeypatch, capsys):
    model = toy("Llama", max_position_embeddings=1024, eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(tmp_path / "my-model")
    tokenizer.save_pretrained(tmp_path / "my-model")
    lines = [{"prompt": f"light {i}", "output": f'{{"on": {i % 3}}}'} for i in range(30)]
    (tmp_path / "traces.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    build("traces.jsonl", "my-model", "bundle")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "constraints.md", "exec"), names)
    *_, first, second = capsys.readouterr().out.strip().splitlines()
    assert "'brightness'" in first
    assert "'name': 'set_light'" in second
