# Serin: build, show, test.

# Which scenario `make demo` shows: healthy, errors, slow, hang or down.
SCENARIO ?= errors

# More words for it, such as ARGS=--keep.
ARGS ?=

# What the stories put behind and in front of Serin: program and Debian package.
TEST_TOOLS := nginx:nginx-light curl:curl python3:python3 h2load:nghttp2-client node:nodejs npm:npm

# Where the stories find OpenFeature's SDKs.
SDKS := target/openfeature

# Third-party suites, and where their tools go. `make test` runs the quick one; `make suites` all, some 20 minutes.
SUITES := target/suites
SUITE_DRIVERS ?= httpwg interop clients scanners slow websocket

# How long `make fuzz` spends on each target, and which ones it runs.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= request_head request_hyper response_head response_hyper body round_trip path \
  config admin_json state audit proxy_protocol h2_request

.PHONY: build demo test tools sdks lint deny fmt bench fuzz

build:
	cargo build --release

# By way of cargo, which knows where it has put the program.
demo:
	cargo run --release --bin serin -- demo --scenario $(SCENARIO) $(ARGS)

# The tests come last, so that their summary is the end of the output.
test: tools sdks suite-tools lint
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	cargo test --workspace --doc
	cargo test --workspace --lib --bins --tests

lint: deny
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# What the crates that Serin is made of may be: deny.toml says it. Known holes in them are looked up in RustSec's
# database, on GitHub; where that cannot be reached it is said, and the rest holds all the same. The tool installs
# itself, without optimisation: it runs for a second.
deny:
	@command -v cargo-deny >/dev/null || cargo install --debug --locked cargo-deny
	cargo deny check bans licenses sources
	@if cargo deny fetch db >/dev/null 2>&1; then \
	  echo cargo deny check advisories; cargo deny check --disable-fetch advisories; \
	else \
	  echo "the database of advisories cannot be reached: they were not checked"; \
	fi

fmt:
	cargo fmt --all

bench:
	cargo bench

# Needs cargo-fuzz. No sanitizer: there is no `unsafe` to watch, and so the stable compiler does. New inputs go to
# fuzz/found/, findings to fuzz/artifacts/; what is worth keeping moves to fuzz/corpus/, which `make test` replays.
fuzz:
	@cd fuzz && for target in $(FUZZ_TARGETS); do \
	  case $$target in \
	    path) words=path.dict;; config) words=config.dict;; admin_json|state|audit) words=json.dict;; *) words=http.dict;; \
	  esac; \
	  mkdir -p found/$$target && \
	  cargo fuzz run -s none $$target found/$$target corpus/$$target -- \
	    -dict=$$words -max_len=4096 -timeout=10 -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; \
	done

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

# OpenFeature's SDKs with their OFREP providers, from PyPI and npm; as tests/openfeature/ names them.
sdks: $(SDKS)/python/installed $(SDKS)/web/installed

$(SDKS)/python/installed: tests/openfeature/requirements.txt | tools
	@echo "installing OpenFeature's Python SDK"
	@python3 -c 'import ensurepip' 2>/dev/null || { \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo="sudo"; \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q && \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv; }
	@rm -rf $(@D) && python3 -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(SDKS)/web/installed: tests/openfeature/package.json tests/openfeature/watch.js | tools
	@echo "installing OpenFeature's web SDK"
	@rm -rf $(@D) && mkdir -p $(@D) && cp $^ $(@D)
	@cd $(@D) && npm install --silent --no-package-lock --no-audit --no-fund
	@touch $@

# What the quick one needs: gRPC's Python interoperability tests, from PyPI and Debian's source package.
suite-tools: | tools
	@tests/suites/install.sh grpc

# All of them against the release build; each is told by its own last line.
suites: build
	@tests/suites/install.sh
	@failed=""; for driver in $(SUITE_DRIVERS); do \
	  PYTHONDONTWRITEBYTECODE=1 python3 tests/suites/$$driver.py || failed="$$failed $$driver"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }
