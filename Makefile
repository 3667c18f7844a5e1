# The only prerequisites are Go and, for what deps installs, a package manager.
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
VULNCHECK   = go run golang.org/x/vuln/cmd/govulncheck@v1.9.0
BENCHTIME  ?= 1s

help: ## this text
	@awk -F':.*## ' '/^[a-z\/-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: deps build ## run everything on real servers, with faults, and count what was lost (half a minute; DEMO=… for flags)
	bin/outbox-dev demo $(DEMO)

servers: deps build ## start PostgreSQL, NATS and Redis to try things on, until Ctrl-C; their URLs are in .servers.env
	bin/outbox-dev servers

build: ## build bin/outbox, and bin/outbox-dev for demo, servers and benchmarks
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/ ./cmd/outbox ./cmd/outbox-dev

man: ## bin/outbox.1, the manual page
	@mkdir -p bin
	go run ./cmd/outbox man > bin/outbox.1

test: deps ## every test, on real servers (about five minutes on 2 cores)
	go test -count=1 -p 3 -parallel 4 -timeout 15m ./...

test/short: ## what needs no server
	go test -short -run 'Arrows|Fuzz|Wire|Parse|Rules|Resolve|Schema' ./sql ./outbox ./invalidate/rules ./internal/slot ./internal/arch

test/race: deps ## every test under the race detector
	go test -race -count=1 -timeout 30m ./...

faults: deps ## everything that breaks in production, at full size (at most 20 minutes); writes the table of docs/reliability.md
	OUTBOX_FAULTS=full OUTBOX_FAULTS_DOC=$(CURDIR)/docs/reliability.md go test -count=1 -timeout 20m -run TestFaults ./internal/faults
	@sed -n '/^| /p' docs/reliability.md

FUZZTIME ?= 20s
fuzz: ## every fuzz test for FUZZTIME
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\).*/\1/p' "$$file"); do \
			go test -run NONE -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
		done; \
	done

mutations: deps ## breaks the code in ten places, one after the other, and expects the tests to notice (WORD=… for some)
	@sh internal/faults/mutations.sh

memory: deps ## ten million rows waiting: what relay and invalidator use (about ten minutes, 6 GB of disk)
	OUTBOX_MEMORY=10000000 go test -count=1 -timeout 60m -v -run TestMemory ./internal/faults

audit: EVENTS = 5000000
audit: deps ## an audit of EVENTS events, and of damage done to them: seconds and memory (5,000,000 take some minutes and 5 GB of disk)
	OUTBOX_AUDIT=$(EVENTS) go test -count=1 -timeout 60m -v -run 'TestAudit$$' ./internal/faults

tags: deps ## a tag of 100,000 members while 50 clients fill it again, and how fast its members are deleted
	OUTBOX_TAG=full go test -count=1 -timeout 20m -v -run 'TestTagUnderRefill|TestTagRate' ./invalidate

ROWS ?= 200000
backfill: deps ## what a backfill of ROWS costs pgbench on the same table, with it and without it by turns
	OUTBOX_BACKFILL=$(ROWS) go test -count=1 -timeout 4h -v -run TestBackfillBesideWriters ./internal/faults

DURATION ?= 10m
soak: deps ## random faults for DURATION; prints its seed, SEED repeats one
	OUTBOX_SOAK=$(DURATION) OUTBOX_SEED=$(SEED) go test -count=1 -timeout 0 -v -run TestSoak ./internal/faults

soak/retention: DURATION = 30m
soak/retention: deps ## partitions that turn over for DURATION: sizes, dead tuples, waits for locks; writes docs/retention
	OUTBOX_RETENTION=$(DURATION) OUTBOX_RETENTION_DOC=$(CURDIR)/docs/retention go test -count=1 -timeout 0 -v -run TestRetentionSoak ./internal/faults

staleness: DURATION = 60s
staleness: deps ## how stale a cache is under 15 ways of invalidating it, with faults (about 17 minutes); writes docs/staleness
	go run ./internal/staleness/run -duration $(DURATION) $(if $(SEED),-seed $(SEED)) $(if $(ARMS),-arms $(ARMS)) -out docs/staleness

bench: deps ## every scenario beside the raw floor, at full size (SCENARIOS=…, RUNS=…, EVENTS=…); writes docs/performance
	go run ./internal/bench/run -out docs/performance $(if $(SCENARIOS),-scenarios $(SCENARIOS)) $(if $(RUNS),-runs $(RUNS)) $(if $(EVENTS),-events $(EVENTS))

bench/curves: CURVES = all
bench/curves: deps ## how that depends on payload, batch, backlog, writers, partitions, keys, relays (CURVES=…); writes docs/performance
	go run ./internal/bench/run -out docs/performance -scenarios '' -curves $(CURVES) $(if $(RUNS),-runs $(RUNS)) $(if $(EVENTS),-events $(EVENTS))

bench/peers: deps ## drain beside others that do the same, in turns (EVENTS=…; a module of its own)
	cd internal/bench/peers && go run . $(if $(EVENTS),-events $(EVENTS)) $(if $(RUNS),-runs $(RUNS))

bench/micro: ## benchmarks of single parts, for benchstat (BENCHTIME=…)
	go test -run NONE -bench . -benchtime $(BENCHTIME) -count 6 ./outbox ./relay ./invalidate ./invalidate/rules

model: ## the three protocols, every interleaving (needs spin and gcc; about a minute)
	@sh docs/model/check

lint: ## gofmt, vet, staticcheck, tidy
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...
	go mod tidy -diff

vuln: ## known vulnerabilities in what we depend on
	$(VULNCHECK) ./...

deps: ## PostgreSQL, PgBouncer and Redis for demo and tests, if they are missing
	@sh internal/devstack/install.sh

.PHONY: help demo servers build man test test/short test/race fuzz faults mutations memory tags soak staleness bench bench/curves bench/peers bench/micro model lint audit backfill soak/retention vuln deps
