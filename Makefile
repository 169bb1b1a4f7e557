# Every target does all of its own set-up: needed are only Python 3.11+, Rust and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs')

.PHONY: demo test lint bench bench-docs scale spread fuzz soak docs cross windows-test arm-test windows-wheel wheel clean

demo: $(VENV)/.built
	$(BIN)/oxisock demo

test: $(VENV)/.built
	$(BIN)/python -m pytest

lint: $(VENV)/.built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/check_types.py
	PYTHONPATH=python $(BIN)/lint-imports --no-cache
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	cargo test --locked --no-default-features

# Where that can be had (Linux, root), a network where nobody else opens ports while all of them are scanned.
ALONE = $(shell command -v ip >/dev/null && unshare --net true 2>/dev/null && \
	echo "unshare --net sh -c 'ip link set lo up && exec \"\$$0\" \"\$$@\"'")

bench: $(VENV)/.built
	$(ALONE) $(BIN)/oxisock bench
	$(BIN)/python benches/network.py
	$(BIN)/python benches/nodes.py

# Measures again all that the documentation says of speed, in about ten minutes; for a quiet machine.
bench-docs: $(VENV)/.built
	$(BIN)/python benches/network.py --runs 5 --far-runs 20 --peers --markdown docs/benchmarks-network.md
	$(BIN)/python benches/nodes.py --markdown docs/benchmarks-nodes.md
	$(ALONE) $(BIN)/oxisock bench --json docs/benchmarks.json --plot docs/benchmarks.svg --markdown docs/benchmarks.md

# Scans of up to a /8, simulated: docs/scale.md says what comes out.
scale:
	cargo bench --quiet --locked --no-default-features --bench scale

# What a scan over an executor costs, and what a /8 would take on many workers; docs/scale.md says what comes out.
spread: $(VENV)/.built
	$(ALONE) $(BIN)/python benches/spread.py

# Builds the wheel and the source distribution, and tries both in clean environments on every Python of this machine;
# the suite runs on what is installed on the first (`--suite all`: on each).
wheel: $(VENV)/.built
	$(BIN)/python tools/check_packages.py

# Fuzzes the core's machines, each for so many seconds, from fuzz/corpus on; what is found stands in fuzz/artifacts.
# `make lint` replays the corpus. cargo-fuzz asks for a nightly compiler; RUSTC_BOOTSTRAP lets the stable one do.
FUZZ_SECONDS ?= 600
fuzz:
	command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz
	for target in framing connection hub scan load; do \
	  mkdir -p fuzz/grown/$$target; \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run $$target fuzz/grown/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -max_len=600 -timeout=20 || exit 1; \
	done

# All servers of both engines among peers that misbehave, for ten minutes; prints what they hold, and fails where it grows.
SOAK_SECONDS ?= 600
soak: $(VENV)/.built
	$(BIN)/python tests/support/soak.py --seconds $(SOAK_SECONDS)

# Core and bindings compiled for other systems, and the core's tests run for one of them; tools/cross.sh says how.
CROSS ?= x86_64-pc-windows-gnu aarch64-apple-darwin x86_64-unknown-freebsd i686-unknown-linux-gnu aarch64-unknown-linux-musl
cross:
	tools/cross.sh check $(CROSS)

windows-test:
	tools/cross.sh test

arm-test:
	tools/cross.sh arm

# The wheel for Windows, built here; its contents and what it asks of the system are checked, for nothing can run it here.
windows-wheel: $(VENV)/.tools
	rm -rf target/cross/wheels
	MATURIN=$(abspath $(BIN))/maturin tools/cross.sh wheel target/cross/wheels
	$(BIN)/python tools/check_packages.py --look target/cross/wheels/*.whl

# The documentation site, in site/: needs neither Rust nor the package, because the API pages are read from the source.
# The theme shows its sidebar from 1,220 pixels on, which leaves many laptops without; here it begins at 1,136.
# What the docstrings' reader says is only a message to the generator, so it is looked for.
docs: .venv-docs/.built
	PYTHONPATH=python OXISOCK_IMPL=pure .venv-docs/bin/python tools/cli_reference.py
	PYTHONPATH=python OXISOCK_IMPL=pure .venv-docs/bin/python tools/completions.py
	.venv-docs/bin/zensical build --strict --clean >site.log 2>&1 || { cat site.log; exit 1; }
	@cat site.log; ! grep -qEi 'griffe:|warning|error' site.log
	.venv-docs/bin/codespell --skip '*.svg,*.json' README.md CHANGELOG.md CONTRIBUTING.md docs
	@find site/assets -name '*.css' -o -name '*.js' | xargs sed -i 's/76\.25em/71em/g; s/76\.234375em/70.984375em/g'
	@rm site.log

.venv-docs/.built: tools/docs-requirements.txt
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r tools/docs-requirements.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-docs dist site target

$(VENV)/.tools: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "maturin>=1.9.4,<2"
	touch $@

$(VENV)/.built: $(VENV)/.tools $(SOURCES)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --quiet --release --locked --extras test,dev
	touch $@
