# The only prerequisites are Go and, for what deps installs, a package manager.
STATICCHECK  = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
VULNCHECK    = go run golang.org/x/vuln/cmd/govulncheck@v1.9.0
BENCHTIME   ?= 1s
PLATFORMS    = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
# Modules of their own, for what no service needs: figures, comparisons with others, examples.
MODULES      = internal/figures internal/bench/peers examples

help: ## list the targets
	@awk -F':.*## ' '/^[a-z\/-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: deps build ## run everything on real servers, with faults, and count what was lost (half a minute; DEMO=… for flags)
	bin/outbox-dev demo $(DEMO)

servers: deps build ## start PostgreSQL, NATS and Redis to try things on, until Ctrl-C; their URLs are in .servers.env
	bin/outbox-dev servers

build: ## build bin/outbox, and bin/outbox-dev for demo, servers and benchmarks
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/ ./cmd/outbox ./cmd/outbox-dev

build/all: ## build outbox for Linux, macOS and Windows on amd64 and arm64, into bin/
	@for platform in $(PLATFORMS); do \
		os=$${platform%/*}; arch=$${platform#*/}; file=bin/outbox-$$os-$$arch; [ $$os != windows ] || file=$$file.exe; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch go build -trimpath -ldflags '-s -w' -o $$file ./cmd/outbox && ls -l $$file || exit 1; \
	done

man: ## write bin/outbox.1, the manual page
	@mkdir -p bin
	go run ./cmd/outbox man > bin/outbox.1

test: deps ## run every test, on real servers (about five minutes on 2 cores)
	go test -count=1 -p 3 -parallel 4 -timeout 15m ./...
	@for module in $(MODULES); do (cd $$module && go vet ./... && go test -count=1 ./...) || exit 1; done

test/short: ## run the tests that need no server, in seconds
	go test -short ./sql ./outbox/event ./invalidate/rules ./internal/arch ./internal/child ./internal/consume ./internal/health ./internal/report ./internal/slot ./internal/sqlstate ./internal/stream ./internal/wait ./internal/cli/redact ./internal/cli/exit ./internal/cli/help ./internal/cli/term

test/race: deps ## run every test under the race detector
	go test -race -count=1 -timeout 30m ./...

faults: deps ## inject every fault at full size (at most 20 minutes); writes the table of docs/reliability.md
	OUTBOX_FAULTS=full OUTBOX_FAULTS_DOC=$(CURDIR)/docs/reliability.md go test -count=1 -timeout 20m -run TestFaults ./internal/faults
	@sed -n '/^| /p' docs/reliability.md

FUZZTIME ?= 20s
fuzz: ## run every fuzz test for FUZZTIME
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\).*/\1/p' "$$file"); do \
			go test -run NONE -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
		done; \
	done

mutations: deps ## break the code in ten ways, one after the other, and expect the tests to fail (WORD=… for some)
	@sh internal/faults/mutations.sh

memory: deps ## measure the memory of relay and invalidator with ten million pending events (about ten minutes, 6 GB of disk)
	OUTBOX_MEMORY=10000000 go test -count=1 -timeout 60m -v -run TestMemory ./internal/faults

audit: EVENTS = 5000000
audit: deps ## measure an audit of EVENTS events, and of damage done to them (5,000,000 take some minutes and 5 GB of disk)
	OUTBOX_AUDIT=$(EVENTS) go test -count=1 -timeout 60m -v -run 'TestAudit$$' ./internal/faults

tags: deps ## measure a tag of 100,000 members while 50 clients fill it again
	OUTBOX_TAG=full go test -count=1 -timeout 20m -v -run 'TestTagUnderRefill|TestTagRate' ./invalidate

ROWS ?= 200000
backfill: deps ## measure what a backfill of ROWS costs pgbench on the same table, in turns with and without it
	OUTBOX_BACKFILL=$(ROWS) go test -count=1 -timeout 4h -v -run TestBackfillBesideWriters ./internal/faults

DURATION ?= 10m
soak: deps ## inject random faults for DURATION; prints its seed, SEED repeats one
	OUTBOX_SOAK=$(DURATION) OUTBOX_SEED=$(SEED) go test -count=1 -timeout 0 -v -run TestSoak ./internal/faults

soak/retention: DURATION = 30m
soak/retention: deps ## turn partitions over for DURATION: sizes, dead tuples, waits for locks; writes docs/retention
	OUTBOX_RETENTION=$(DURATION) OUTBOX_RETENTION_DOC=$(CURDIR)/docs/retention go test -count=1 -timeout 0 -v -run TestRetentionSoak ./internal/faults
	cd internal/figures && go run ./retention -dir $(CURDIR)/docs/retention

staleness: DURATION = 60s
staleness: deps ## measure how stale a cache is under 15 ways of invalidating it, with faults (about 17 minutes); writes docs/staleness
	cd internal/figures && go run ./staleness -duration $(DURATION) $(if $(SEED),-seed $(SEED)) $(if $(ARMS),-arms $(ARMS)) -out $(CURDIR)/docs/staleness

bench: deps ## measure every scenario beside the raw floor, at full size (SCENARIOS=…, RUNS=…, EVENTS=…); writes docs/performance
	cd internal/figures && go run ./bench -out $(CURDIR)/docs/performance $(if $(SCENARIOS),-scenarios $(SCENARIOS)) $(if $(RUNS),-runs $(RUNS)) $(if $(EVENTS),-events $(EVENTS))

bench/curves: CURVES = all
bench/curves: deps ## measure the curves over payload, batch, backlog, writers, partitions, keys, relays (CURVES=…); writes docs/performance
	cd internal/figures && go run ./bench -out $(CURDIR)/docs/performance -scenarios '' -curves $(CURVES) $(if $(RUNS),-runs $(RUNS)) $(if $(EVENTS),-events $(EVENTS))

bench/peers: deps ## measure drain beside other relays, in turns (EVENTS=…)
	cd internal/bench/peers && go run . $(if $(EVENTS),-events $(EVENTS)) $(if $(RUNS),-runs $(RUNS))

bench/micro: ## run the benchmarks of single parts, for benchstat (BENCHTIME=…)
	go test -run NONE -bench . -benchtime $(BENCHTIME) -count 6 ./outbox/event ./relay ./invalidate ./invalidate/rules

model: ## check the three protocols in every interleaving (needs spin and gcc; about a minute)
	@sh docs/model/check

lint: ## run gofmt, vet, staticcheck and go mod tidy, for every module
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...
	go mod tidy -diff
	@for module in $(MODULES); do (cd $$module && go vet ./... && go mod tidy -diff) || exit 1; done

vuln: ## find known vulnerabilities in the dependencies
	$(VULNCHECK) ./...

deps: ## install PostgreSQL, PgBouncer and Redis for demo and tests, if they are missing
	@sh internal/devstack/install.sh

.PHONY: help demo servers build build/all man test test/short test/race fuzz faults mutations memory tags soak staleness bench bench/curves bench/peers bench/micro model lint audit backfill soak/retention vuln deps
