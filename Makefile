# The front door. Each target works on a machine with only the language toolchains.

.PHONY: help run up down logs test lint fmt web browser bench bench-servers openapi proto migrate ci servers-down

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

run: web/dist/index.html ## build everything and serve http://localhost:8080 on embedded storage with the demo AI
	cargo run --locked --profile local -p messenger -- run

up: web/dist/index.html ## every service in a process of its own, some twice, on PostgreSQL, Kafka and Redis
	cargo build --locked --profile local -p messenger
	scripts/apart up target/local/messenger

down: ## stop what `make up` started
	scripts/apart down

logs: ## follow the logs of `make up`
	scripts/apart logs

web/dist/index.html: web/package-lock.json $(shell find web/src web/sdk web/index.html -type f 2>/dev/null)
	cd web && npm ci --no-audit --no-fund --loglevel=error && npm run build
	@touch $@

web: web/dist/index.html ## build the page that the program embeds

test: ## every test, against real servers that it brings up by itself
	scripts/test
	cd web && npm ci --no-audit --no-fund --loglevel=error && npm test

browser: web/dist/index.html ## the main job in a real Chromium
	cargo build --locked -p messenger
	scripts/browser target/debug/messenger

lint: ## formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cd web && npm run lint
	cd e2e/foreign && npm run lint

fmt: ## format everything
	cargo fmt --all
	cd web && npm run format
	cd e2e/foreign && npm run format

bench: web/dist/index.html ## the figures of docs/performance.md
	cargo build --locked --profile quick -p messenger
	cargo run --release --manifest-path tools/bench/Cargo.toml --target-dir target/bench -- \
	  run --messenger target/quick/messenger --out docs/bench.md

bench-servers: web/dist/index.html ## its figures on PostgreSQL, Kafka and Redis, which it starts
	cargo build --locked --profile quick -p messenger
	cargo run --release --manifest-path tools/bench/Cargo.toml --target-dir target/bench -- \
	  run --messenger target/quick/messenger --engine servers --out docs/bench-servers.md

openapi: ## write docs/api from the handlers
	cargo run --locked -p messenger -- openapi docs/api

proto: ## write contracts/src/gen from proto/
	cargo run --manifest-path tools/protogen/Cargo.toml --target-dir target/tools

migrate: ## bring the databases of the configuration to the newest version
	cargo run --locked --profile local -p messenger -- migrate up

ci: ## what runs before anything lands
	.ci/run

servers-down: ## stop the servers that the tests brought up
	scripts/postgres down
	scripts/redis down
	scripts/kafka down
