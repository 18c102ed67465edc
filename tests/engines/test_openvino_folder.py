"""What is known of an exported folder, and what is said of a damaged one, without OpenVINO."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.engines.openvino.folder import (
    FACTS,
    GRAPH,
    WEIGHTS,
    Facts,
    is_export,
    read_facts,
    windowed,
    write_facts,
)
from tascel.errors import ModelError

KNOWN = Facts("abc", "int8", 128, 64, 40, (3, 5))


@pytest.fixture
def folder(tmp_path):
    """An export of tascel's, with a graph and weights that nobody reads here."""
    (tmp_path / GRAPH).write_text("<net/>")
    (tmp_path / WEIGHTS).write_bytes(bytes(1000))
    write_facts(tmp_path, KNOWN)
    return tmp_path


@pytest.fixture
def foreign(folder):
    """`foreign(**config)` is what optimum-intel would have left."""

    def make(generation=None, **config):
        (folder / FACTS).unlink(missing_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        if generation is not None:
            (folder / "generation_config.json").write_text(json.dumps(generation))
        return folder

    return make


counts = st.integers(1, 1 << 40)


@given(
    facts=st.builds(
        Facts,
        weights=st.text(),
        form=st.sampled_from(["fp16", "int8"]),
        context_limit=counts,
        draft_limit=counts,
        vocab_size=counts,
        eos_ids=st.lists(st.integers(0, 1 << 31)).map(tuple),
    )
)
def test_facts_are_read_as_they_were_written(facts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("facts")
    (folder / GRAPH).write_text("<net/>")
    (folder / WEIGHTS).write_bytes(b"1")
    write_facts(folder, facts)
    assert read_facts(folder) == read_facts(str(folder)) == facts


def test_a_folder_is_known_by_its_graph(folder, toy_folder, tmp_path):
    assert is_export(folder)
    assert is_export(str(folder))
    assert not is_export(toy_folder)
    assert not is_export(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS])
def test_files_that_are_missing_or_cut_short_are_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(ModelError, match=rf"{name} has [\d,]+ bytes instead of [\d,]+"):
        read_facts(folder)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"holds no {name}.*tascel export"):
        read_facts(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "of a newer tascel.*Update tascel"),
        ({"version": "1"}, "no version we know"),
        ({"version": None}, "no version we know"),
        ({"facts": None}, "does not say what has to be known"),
        ({"facts": {}}, "does not say what has to be known"),
        ({"facts": {**json.loads('{"weights": "a"}'), "eos_ids": 3}}, "does not say"),
        ({"bytes": None}, "how large"),
        ({"bytes": {}}, "how large"),
    ],
)
def test_facts_of_another_kind_are_refused(folder, change, complaint):
    content = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps(content | change))
    with pytest.raises(ModelError, match=complaint):
        read_facts(folder)


@pytest.mark.parametrize(
    "wrong",
    [
        {"context_limit": 0}, {"draft_limit": "64"}, {"vocab_size": -1}, {"vocab_size": True},
        {"eos_ids": [-1]}, {"eos_ids": ["</s>"]}, {"weights": 3}, {"more": 1},
    ],
)  # fmt: skip
def test_facts_that_cannot_be_true_are_refused(folder, wrong):
    content = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps(content | {"facts": content["facts"] | wrong}))
    with pytest.raises(ModelError, match="does not say what has to be known"):
        read_facts(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_facts_that_are_no_json_are_refused(folder, text):
    (folder / FACTS).write_bytes(text)
    with pytest.raises(ModelError, match=f"{FACTS} (cannot be read|holds no object)"):
        read_facts(folder)


def test_another_exporter_s_folder_is_read_from_its_configuration(foreign):
    facts = read_facts(foreign(vocab_size=40, max_position_embeddings=128, eos_token_id=7))
    assert (facts.form, facts.eos_ids, facts.vocab_size) == ("unknown", (7,), 40)
    assert facts.context_limit == facts.draft_limit == 128
    made = foreign({"eos_token_id": [3, 4]}, vocab_size=40, n_positions=64, eos_token_id=7)
    again = read_facts(made)
    assert (again.eos_ids, again.context_limit) == ((3, 4), 64)
    assert again.weights == facts.weights
    (made / WEIGHTS).write_bytes(bytes(999) + b"1")
    assert read_facts(made).weights != facts.weights


def test_a_text_model_may_be_part_of_a_larger_one(foreign):
    text = {"vocab_size": 40, "max_position_embeddings": 128}
    facts = read_facts(foreign(text_config=text, eos_token_id=None))
    assert (facts.vocab_size, facts.context_limit, facts.eos_ids) == (40, 128, ())


@pytest.mark.parametrize(
    "config",
    [
        {
            "rope_scaling": {"type": "longrope", "short_factor": [1.0]},
            "original_max_position_embeddings": 32,
        },
        {"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 32}},
        {"rope_parameters": {"full_attention": {
            "rope_type": "longrope", "original_max_position_embeddings": 32}}},
    ],
)  # fmt: skip
def test_drafts_end_where_a_rope_turns_otherwise(foreign, config):
    facts = read_facts(
        foreign(vocab_size=40, max_position_embeddings=128, eos_token_id=1, **config)
    )
    assert (facts.context_limit, facts.draft_limit) == (128, 32)


def test_another_exporter_s_folder_may_lack_what_is_needed(foreign, folder):
    with pytest.raises(ModelError, match=r"config\.json does not say"):
        read_facts(foreign(max_position_embeddings=128))
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        read_facts(folder)


@pytest.mark.parametrize(
    ("config", "seen"),
    [
        ({}, False),
        ({"sliding_window": None}, False),
        ({"sliding_window": 8}, True),
        ({"attention_chunk_size": 8}, True),
        ({"window_size": 8}, True),
        ({"text_config": {"sliding_window": 8}}, True),
    ],
)
def test_layers_that_see_only_the_last_tokens_are_known(foreign, config, seen):
    assert windowed(foreign(**config)) is seen
