# Serin: build, show, test.

# Which scenario `make demo` shows: healthy, errors, slow, hang or down.
SCENARIO ?= errors

# More words for it, such as ARGS=--keep.
ARGS ?=

# What the stories put behind and in front of Serin: program and Debian package.
TEST_TOOLS := nginx:nginx-light curl:curl python3:python3 h2load:nghttp2-client

.PHONY: build demo test tools lint fmt bench

build:
	cargo build --release

# By way of cargo, which knows where it has put the program.
demo:
	cargo run --release --bin serin -- demo --scenario $(SCENARIO) $(ARGS)

# The tests come last, so that their summary is the end of the output.
test: tools lint
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	cargo test --workspace --doc
	cargo test --workspace --lib --bins --tests

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt:
	cargo fmt --all

bench:
	cargo bench

# Installs what is missing of TEST_TOOLS; without anything missing it needs no rights and no network.
tools:
	@missing=""; \
	for tool in $(TEST_TOOLS); do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo="sudo"; \
	  echo "installing$$missing"; \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q && \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi
