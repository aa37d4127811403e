# What there is to do here. `make demo` first.

PG ?= 15
export KEEP CUSTOMERS STORIES
N ?= 1000

.PHONY: demo stories test chance fuzz simulate walk schemas history soak bench fmt lint ci
.DEFAULT_GOAL := demo

# The main job on a private server with the demo company; KEEP=1 leaves it up, STORIES=1 goes on with the stories.
demo:
	@exec scripts/demo.sh
	@[ -z "$$STORIES" ] || exec $(MAKE) --no-print-directory stories

# Five days at the desk, in Japanese, from the first call to the proof
stories:
	@scripts/install.sh test
	@bin=$$(scripts/postgres.sh $(PG)) && ERASURED_TEST_PGBIN=$$bin exec cargo test --locked --features failpoints --test stories -- \
		--nocapture --test-threads 1

# Everything, on a server version: make test PG=18; a part: make test PG=18 ONLY="--test sweep". Its random
# cases are the same each time, so that a change is refused for what it did; new ones are looked for by
# `make chance` and `make fuzz`.
test: export PROPTEST_RNG_SEED ?= 20261127
# One more at a time than a small machine has cores: many wait for clocks and locks.
test: export RUST_TEST_THREADS ?= 3
test:
	@scripts/install.sh test
	@bin=$$(scripts/postgres.sh $(PG)) && echo "PostgreSQL $(PG) in $$bin" && \
	ERASURED_TEST_PGBIN=$$bin INSTA_UPDATE=no exec cargo test --locked --no-fail-fast --features failpoints $(ONLY)

# New random cases for the properties of the pure core and the parsers: make chance N=100000
chance:
	PROPTEST_CASES=$(N) exec cargo test --locked --features failpoints --lib --test parsers --no-fail-fast

# Random schemas, data and policies against a naive oracle: make fuzz N=1000 PG=18; one again: make fuzz SEED=17
fuzz:
	@scripts/install.sh test
	@bin=$$(scripts/postgres.sh $(PG)) && echo "PostgreSQL $(PG) in $$bin" && \
	ERASURED_TEST_PGBIN=$$bin FUZZ_CASES=$(N) FUZZ_SEED=$(SEED) exec cargo test --locked --features failpoints --test lessons -- \
		--exact oracle::random_schemas_end_as_the_naive_oracle_says --nocapture

# Five years of retention, day by day with a turned clock, against an oracle in plain SQL: make simulate DAYS=400 SEED=7
DAYS ?= 1827
simulate:
	@scripts/install.sh test
	@bin=$$(scripts/postgres.sh $(PG)) && echo "PostgreSQL $(PG) in $$bin" && \
	ERASURED_TEST_PGBIN=$$bin SIMULATE_DAYS=$(DAYS) SIMULATE_SEED=$(or $(SEED),1) exec cargo test --locked --features failpoints \
		--test simulation -- --nocapture

# Kills the program before and after each request that it makes of a database or another system, and prints how many there are and how
# many it survived (make test takes every fifth); make walk ALL=1 walks a request anew behind each other one
walk:
	@scripts/install.sh test
	@bin=$$(scripts/postgres.sh $(PG)) && ERASURED_TEST_PGBIN=$$bin WALK_ONE_IN=1 WALK_ALL=$(ALL) exec cargo test --locked --features failpoints \
		--test walk -- --nocapture

# Two daemons, people and old rows coming in all the while, a fault every few seconds: make soak MINUTES=5 SEED=7
MINUTES ?= 30
soak:
	@scripts/install.sh test
	@bin=$$(scripts/postgres.sh $(PG)) && ERASURED_TEST_PGBIN=$$bin SOAK_MINUTES=$(MINUTES) SOAK_SEED=$(SEED) exec cargo test --locked --features failpoints \
		--test soak -- --ignored --nocapture

# What ledger, tickets, systems and certificates say has happened, read by code that shares none with the program:
# make history CONTROL=postgresql://… SYSTEMS="shop=postgresql://… billing=postgresql://…" KEY=signing.pub.pem
history:
	@HISTORY_CONTROL="$(CONTROL)" HISTORY_SYSTEMS="$(SYSTEMS)" HISTORY_KEY="$(abspath $(KEY))" exec cargo test --locked --features failpoints \
		--test history -- --ignored --exact of_any_databases --nocapture

# Schemas of real applications, their packages from PyPI: make schemas ONLY=oscar
schemas:
	@scripts/install.sh test
	@bin=$$(scripts/postgres.sh $(PG)) && ERASURED_TEST_PGBIN=$$bin exec cargo test --locked --features failpoints --test schemas -- \
		--include-ignored --nocapture --test-threads 1 $(ONLY)

# The table of figures, and target/bench.json; one part alone: make bench ONLY=sweep
bench:
	@scripts/install.sh demo
	@bin=$$(scripts/postgres.sh $(PG)) && ERASURED_TEST_PGBIN=$$bin exec cargo bench --locked --bench figures -- $(ONLY)

fmt:
	cargo fmt --all

lint:
	cargo fmt --all --check
	cargo clippy --locked --all-targets --features failpoints -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

ci:
	.ci/run
