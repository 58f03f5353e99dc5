# Each target does its own set-up: once, in .venv, and again only when the requirements change.
PYTHON ?= python3
READY := .venv/.installed
DATA := $(if $(GOEMOTIONS_DIR),--dataset_name $(GOEMOTIONS_DIR))

MODEL ?= outputs/quickstart

.PHONY: help quickstart demo test node lint lock bench

help:  ## what there is to make
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

quickstart: $(READY)  ## train baseline and MiniLM on the demo corpus, compare them, classify a sentence (offline after set-up)
	@echo; echo "1/4  the baseline: TF-IDF and logistic regression, on the hand-written demo corpus"
	@.venv/bin/python run_baseline.py --dataset_name demo --output_dir outputs/quickstart_baseline --overwrite_output_dir
	@echo; echo "2/4  the encoder: MiniLM, fine-tuned on the same comments (a minute or two on two cores)"
	@.venv/bin/python run_finetune.py --config recipes/quickstart.yaml --overwrite_output_dir
	@echo; echo "3/4  side by side (demonstration data: these scores say nothing about GoEmotions)"; echo
	@.venv/bin/python run_compare.py outputs/quickstart_baseline outputs/quickstart
	@echo; echo "4/4  what does it read in a sentence?"; echo
	@.venv/bin/python run_inference.py --model outputs/quickstart "I'm so happy that I finally passed the deep learning exam!"

demo: $(READY)  ## the page that run_push.py --hub_space_id publishes, with a model of yours, on this machine (needs Node): MODEL=outputs/quickstart
	@[ -d node_modules/@huggingface/transformers ] || $(MAKE) --no-print-directory node
	@.venv/bin/python -m utils.publishing.preview $(MODEL)

test: $(READY)  ## run the tests
	@.venv/bin/python -m pytest --numprocesses 2 --dist loadfile

node:  ## install transformers.js, with which `make test` then also reads a published model, and what drives a browser (needs Node)
	@npm install --prefix . --no-save --no-package-lock --ignore-scripts --no-audit --no-fund \
		@huggingface/transformers@4.3.1 playwright-core@1.65.1 axe-core@4.14.1

lint: $(READY)  ## check style (ruff), types (mypy) and who may import whom (import-linter)
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

lock: $(READY)  ## pin every package that the requirements bring along, for Python 3.11 to 3.13, in constraints.txt
	@.venv/bin/uv pip compile requirements-dev.txt --universal --python-version 3.11 --no-annotate --quiet --upgrade \
		--custom-compile-command "make lock" --output-file constraints.txt

bench: $(READY)  ## every figure of speed, on GoEmotions (GOEMOTIONS_DIR, or the Hub's); trains outputs/minilm first where it is missing
	@.venv/bin/python run_baseline.py $(DATA) --output_dir outputs/bench_baseline --overwrite_output_dir
	@[ -f outputs/minilm/all_results.json ] || .venv/bin/python run_finetune.py --config recipes/minilm.yaml $(DATA)
	@.venv/bin/python -m benchmarks.threshold_speed outputs/bench_baseline
	@.venv/bin/python -m benchmarks.threshold_strategies outputs/bench_baseline outputs/minilm
	@.venv/bin/python -m benchmarks.training_speed
	@.venv/bin/python -m benchmarks.training_speed --quality
	@.venv/bin/python -m benchmarks.training_roofline
	@.venv/bin/python -m benchmarks.attention
	@.venv/bin/python -m benchmarks.competing_load outputs/minilm
	@.venv/bin/python -m benchmarks.inference_speed outputs/minilm
	@.venv/bin/python -m benchmarks.inference_scale outputs/minilm
	@.venv/bin/python -m benchmarks.corpus outputs/minilm
	@.venv/bin/python -m benchmarks.precision outputs/minilm
	@.venv/bin/python -m benchmarks.first_token outputs/minilm
	@.venv/bin/python -m benchmarks.int8 outputs/minilm
	@.venv/bin/python -m benchmarks.roofline outputs/minilm
	@.venv/bin/python -m benchmarks.explanations outputs/minilm
	@.venv/bin/python -m benchmarks.startup outputs/minilm
	@.venv/bin/python -m benchmarks.speed_table

$(READY): requirements.txt requirements-onnx.txt requirements-search.txt requirements-corpus.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python {v[0]}.{v[1]} found; 3.11 to 3.13 is needed (make PYTHON=python3.12 …)")'
	@echo "setting up .venv (once; some hundred MB, or several GB where pip takes the CUDA build of torch)"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@
