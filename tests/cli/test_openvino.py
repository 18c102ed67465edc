"""Verbs with --engine openvino, on a toy that was exported."""

from __future__ import annotations

import json

import pytest

from tascel.builder import build

pytestmark = pytest.mark.openvino


def test_verbs_run_an_export(tascel, toy_folder, two_tasks, tmp_path):
    bundle, folder, prompts = (tmp_path / name for name in ("bundle", "export", "prompts.jsonl"))
    build(iter(two_tasks(40)), toy_folder, bundle)
    code, _, told = tascel("export", bundle, "-m", toy_folder, "--to", "openvino", "-o", folder)
    assert code == 0, told
    lines = ({"messages": [{"role": "user", "content": f"turn the lamp to {i}"}]} for i in range(3))
    prompts.write_text("\n".join(map(json.dumps, lines)))
    asked = (bundle, prompts, "-m", folder, "--engine", "openvino", "--max-tokens", 12)

    code, shown, told = tascel("bench", *asked)
    assert code == 0, told
    assert "none" in shown
    code, _, told = tascel("bench", *asked, "--against", "transformers")
    assert code == 1
    assert "stock transformers cannot compete" in told

    _, shown, told = tascel("verify", *asked)
    assert "3 answers, 36 tokens" in shown, told
    assert "not equal" not in shown

    answers = tmp_path / "answers.jsonl"
    code, _, told = tascel("generate", *asked, "-o", answers)
    assert code == 0, told
    assert len(answers.read_text().splitlines()) == 3

    code, _, told = tascel("generate", bundle, prompts, "-m", folder)
    assert code == 1
    assert "--engine openvino" in told
