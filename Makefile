# The two commands to know: `make demo` shows the product, `make test` says whether it is sound.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Each step uses all cores by itself, and later steps use what earlier ones have built.
.NOTPARALLEL:

CARGO ?= cargo

.PHONY: help tools demo test fmt lint doc unit bench bench-catalog

help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

tools: ## Fetch the real programs (Alertmanager, vmalert, VictoriaMetrics, SMTP, S3, linters) into target/tools.
	@scripts/fetch-tools
	@scripts/fetch-linters

demo: tools ## Show a bad release being noticed and taken back, with everything running here.
	@$(CARGO) build --locked --bin backstop --example demo
	@$(CARGO) run --locked --quiet --example demo

test: tools fmt lint doc unit ## Everything CI runs: format, lints, documentation, tests, licences.

fmt: ## Check the format.
	@echo '== format'
	@$(CARGO) fmt --check

lint: ## Run clippy over everything; a warning is an error.
	@echo '== lints'
	@$(CARGO) clippy --locked --all-targets -- -D warnings

doc: ## Build the documentation, private items too; a broken link is an error.
	@echo '== documentation'
	@RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps --document-private-items

unit: ## Run the tests, licences and the real programs included.
	@echo '== tests'
	@$(CARGO) test --locked 2>&1 | awk '{print; fflush()} \
	  /^test result: / {seen = 1; passed += $$4; failed += $$6; skipped += $$8} \
	  END {if (seen) printf "tests: %d passed, %d failed, %d skipped\n", passed, failed, skipped}'

bench: ## Measure the gateway beside a bare forwarder; prints ratios, writes target/bench/summary.json.
	@$(CARGO) bench --locked --bench gateway

bench-catalog: ## Measure the catalog at 1,000, 100,000 and 1,000,000 records; `-- sizes N…` after cargo bench for others.
	@$(CARGO) bench --locked --bench catalog
