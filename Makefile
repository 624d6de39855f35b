# The doors of the project: `make` lists them.
# CARGO_TARGET_DIR is respected everywhere, so a cache may live outside the clone.

CARGO  ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
DEBUG  := $(TARGET)/debug/skykoi-gateway
HOST   := $(shell rustc -vV | sed -n 's/^host: //p')
BUILT  := $(TARGET)/$(HOST)/release/skykoi-gateway
BINARY := $(TARGET)/skykoi-gateway
# A release carries the parts of the C library that it uses: it starts without a dynamic linker, which each run's host process would pay for, and it runs on older systems than the one that built it. Equal functions are kept once.
# The symbols after -u are named, because the standard library uses them only if they are there: without them it starts processes by a slower way.
LINK   := -C strip=symbols -C target-feature=+crt-static -C link-arg=-Wl,--icf=all -C link-arg=-Wl,-u,gnu_get_libc_version,-u,posix_spawn_file_actions_addchdir_np
ARGS   ?=

.DEFAULT_GOAL := list
.PHONY: list build run test test-runners check gen demo-agent bench soak fuzz-short mutants dist

list: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /|/' | awk -F'|' '{ printf "make %-10s %s\n", $$1, $$2 }'

build: ## build the release: TARGET/skykoi-gateway
	RUSTFLAGS="$(RUSTFLAGS) $(LINK)" $(CARGO) build --release --locked --target $(HOST)
	ln -f $(BUILT) $(BINARY)

run: build ## build and start the gateway; the first start writes a config. ARGS="--port 28789" is passed on
	exec $(BINARY) start $(ARGS)

test: ## install what the tests need (by apt, when absent), then run all tests
	scripts/test-deps
	$(CARGO) build --locked
	$(CARGO) test --locked
	if [ -x tests/autobahn/run.sh ]; then tests/autobahn/run.sh; fi
	tests/systemd/run.sh $(DEBUG)

test-runners: ## install the real agent programs (by npm, outside of this directory) and drive them against the scripted model
	CARGO="$(CARGO)" scripts/test-runners

check: ## formatting, lints, generated files, licences and known weaknesses of what comes from outside (cargo-deny, when installed)
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked --test it generated_files_are_current
	scripts/deny

gen: ## write the generated files of schema/ and docs/ anew
	$(CARGO) run --quiet --locked -- gen

demo-agent: ## show a whole run of the agent offline: a scripted model, its commands and files
	$(CARGO) build --quiet --locked --bin skykoi-gateway --example fake_model
	scripts/demo-agent $(DEBUG) $(TARGET)/debug/examples/fake_model

bench: ## measure: one JSON line per figure, and a table
	RUSTFLAGS="$(RUSTFLAGS) $(LINK)" $(CARGO) bench --locked --target $(HOST) --bench gateway

soak: ## the crash test with 1,000 kills instead of 200
	SKYKOI_KILLS=1000 $(CARGO) test --locked --test it crash -- --nocapture

fuzz-short: ## fuzz everything that reads bytes of strangers, 60 s per target (`make test` takes 5 s); a failing input is kept in tests/fuzz/corpus
	SKYKOI_FUZZ_SECONDS=60 $(CARGO) test --locked --test fuzz

mutants: ## change the rules of authentication, scopes and commands in every way that cargo-mutants knows, and see whether a test minds
	scripts/mutants $(ARGS)

dist: build ## pack the release binary and the deploy files for a machine: TARGET/dist/skykoi-gateway.tar.gz
	mkdir -p $(TARGET)/dist
	tar -czf $(TARGET)/dist/skykoi-gateway.tar.gz --owner=0 --group=0 --transform 's,^,skykoi-gateway/,' \
	  deploy nginx systemd LICENSE-MIT LICENSE-APACHE -C $(abspath $(TARGET)) skykoi-gateway
	cd $(TARGET)/dist && sha256sum skykoi-gateway.tar.gz | tee skykoi-gateway.tar.gz.sha256
