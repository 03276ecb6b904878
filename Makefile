# The words of the house. README.md and .ci/run use the same ones.
#
#   make demo     a platform, a device and two apps, on this machine, explained as it goes
#   make test     every test, on both ledgers; TAWI_SIM_HISTORIES=N: more simulated histories, TAWI_SIM_SEED=N: that one, told
#   make torture  hundreds of deaths of nodes and servers, and the accounts after each (half an hour; TAWI_SEED plays one again)
#   make lint     format, clippy, the rules of the house, documentation
#   make bench    the figures, also as target/bench.json
#   make ci       what has to pass before a change lands: lint, test, demo

CARGO ?= cargo
# With --workspace wherever something is built, so that features unify the same way and nothing is built twice.
BUILD = $(CARGO) build --workspace --locked

.DEFAULT_GOAL := help
.PHONY: help demo test torture lint tidy bench ci setup guests tawi clean

help:
	@sed -n 's/^#  *make/make/p' Makefile

setup:
	@tools/setup wasm nats mqtt waziup

# The functions under functions/, as WebAssembly: what the tests push.
guests: setup
	functions/build

tawi:
	$(BUILD) --bin tawi

demo:
	@tools/setup wasm
	@$(BUILD) --bin tawi
	@demo/run

test: setup guests tawi
	$(CARGO) test --workspace --locked
	$(CARGO) test --locked --manifest-path functions/Cargo.toml
	$(CARGO) test --locked --manifest-path sdk/Cargo.toml --workspace

# 200 ends of a node, 50 rounds of a NATS server, of both, of the line between them and of the clock. A few of each are part of
# `make test`. Some 25 minutes on two cores (240 s, 285 s, 250 s, 400 s and 250 s). Then 10,000 histories of each of the two
# simulations, at 30 to 50 ms of one core each: 5 to 8 minutes where there are two cores, 10 to 17 on one.
torture: setup guests tawi
	TAWI_TORTURE_ROUNDS=200 $(CARGO) test --workspace --locked --test it -- torture:: --nocapture --test-threads 1
	TAWI_SIM_HISTORIES=10000 $(CARGO) test --workspace --locked --lib dispatch::tests::sim

# Rules that a machine can check: docs/STYLE.md, docs/ARCHITECTURE.md, docs/LIMITS.md.
tidy:
	$(CARGO) test --locked -p tawi-platform-tests --test tidy

lint:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path functions/Cargo.toml
	$(CARGO) fmt --all --check --manifest-path sdk/Cargo.toml
	rustfmt --check --edition 2024 demo/apps/*/src/lib.rs
	$(CARGO) clippy --workspace --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --locked --no-deps

# With the optimiser's whole attention, as a release is built.
bench: setup guests
	@tools/setup bench
	$(BUILD) --release --bins
	target/release/bench
	$(CARGO) bench --workspace --locked --bench floor

ci: lint test
	demo/run </dev/null

clean:
	$(CARGO) clean
	$(CARGO) clean --manifest-path functions/Cargo.toml
