.DEFAULT_GOAL := help

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the fenceline command, into bin/
	go build -o bin/ ./cmd/fenceline

test: ## all tests of all modules
	go test work

race: ## the same under the race detector
	go test -race work

stress: ## the concurrency tests, fifty times, also under the race detector and on one processor
	go test -count=50 -timeout 60m ./session ./internal/... ./lock ./election ./cron ./semaphore ./barrier ./registry/...
	go test -count=50 -timeout 60m -race ./session ./internal/... ./lock ./election ./cron ./semaphore ./barrier ./registry/...
	GOMAXPROCS=1 go test -count=50 -timeout 60m ./session ./internal/... ./lock ./election ./cron ./semaphore ./barrier ./registry/...

simulate: ## the library in virtual time, by SEEDS=100000 seeds from FIRST=1 on
	go test ./internal/sim -sim.first=$(or $(FIRST),1) -sim.seeds=$(or $(SEEDS),100000) -timeout 12h -v

mutants: ## faults seeded into the library, and after how many seeds the simulator finds each
	go run ./internal/sim/mutants

soak: ## a semaphore under load and with deaths, for a minute, against etcd's history
	go test -count=1 -v -run TestHistoryShows ./semaphore -soak 60s
	go test -count=1 -v -run TestHistoryShows -race ./semaphore -soak 60s

lint: ## go vet, gofmt, and golangci-lint where it is installed
	go vet work
	test -z "$$(gofmt -l .)"
	! command -v golangci-lint || for m in . adapters bench cmd/fenceline metrics/otel metrics/pprof metrics/prom; do (cd $$m && golangci-lint run ./...) || exit 1; done

bench: ## lock contention against etcd's own mutex
	go run ./cmd/fenceline bench

tidy: ## go.mod and go.sum of all modules
	./.ci/tidy

.PHONY: help build test race stress simulate mutants soak lint bench tidy
