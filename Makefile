# Selvage. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN      := $(CURDIR)/bin
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
PROGRAMS := selvage-controller selvage-agent selvage kubectl-selvage
FUZZTIME ?= 20s
CHAOS_MINUTES ?= 5
CHAOS_SEED    ?= 0
export GOFLAGS ?= -mod=readonly

# Tools come from a module of their own, hack/tools, and so from the module
# proxy alone, in the versions pinned there.
TOOL = $(BIN)/tools
$(TOOL)/%: hack/tools/go.mod hack/tools/go.sum
	@mkdir -p $(TOOL)
	@echo "building $* from hack/tools (golangci-lint takes some minutes the first time)"
	@cd hack/tools && CGO_ENABLED=0 GOBIN=$(TOOL) go install $$(go list -f '{{.Target}} {{.ImportPath}}' tool | awk -v t=$* '{n=split($$1,p,"/"); if (p[n]==t) print $$2}')

##@ Use

.PHONY: help
help: ## Show this
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the programs into bin/
	@mkdir -p $(BIN)
	CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/ $(addprefix ./cmd/,$(PROGRAMS))

.PHONY: images
images: ## Build the container images into bin/images, as OCI archives; needs no registry and no container engine
	go run ./hack/images $(IMAGEFLAGS)

.PHONY: demo
demo: ## The story on this machine: three hosts, one fire, one heir (root, or a user namespace)
	go run ./hack/demo $(DEMOFLAGS)

##@ Prove

.PHONY: test
test: ## Every test that runs within minutes, on a real API server and a real kernel (root)
	hack/test.sh

.PHONY: model
model: ## The models of the protocol to their wider bounds, and the shortest counterexample to each rule (minutes)
	hack/setup.sh
	go test -count=1 -timeout 60m -v ./test/model -run '^TestPromela$$' -full
	go test -count=1 -timeout 60m -v ./controllers/ownership -run '^TestExplore$$' -full

SEEDS ?= 10000
SIM   := go test -count=1 -timeout 60m -v ./test/sim
.PHONY: proof
proof: ## That no address is ever owned twice: models, museum, mutants, simulations (docs/safety.md; root)
	hack/setup.sh
	go test -count=1 -timeout 30m -p 1 ./test/model ./test/museum ./test/sim/apiserver/...
	$(MAKE) --no-print-directory mutants sim

.PHONY: sim
sim: ## The real loops over a simulated API server: SEEDS histories (default 10000), a tenth of them with etcd restored
	$(SIM) -run '^(TestSameAgain|TestScripts)$$'
	$(SIM) -run '^TestAdmitted$$' -seeds $$(($(SEEDS) / 200))
	$(SIM) -run '^TestRestored$$' -seeds $$(($(SEEDS) / 10))
	$(SIM) -run '^TestStories$$' -seeds $(SEEDS)

.PHONY: mutants
mutants: ## What simulation breaks without a rule, each within so many histories (two minutes)
	$(SIM) -run '^TestMutationsAreKilled$$' -broken
	go test -count=1 -timeout 60m -v ./controllers/ownership -run '^TestSimulationKills$$' -mutant-seeds 1000

.PHONY: e2e
e2e: ## Selvage installed on real nodes: kubelets, containerd, real pods (root)
	hack/e2e.sh

.PHONY: conformance
conformance: ## Kubernetes' own network tests, on real kubelets (root; docs/conformance.md)
	go run ./test/upstream $(CONFORMANCEFLAGS)

.PHONY: e2e-short
e2e-short: ## The same without the tests that take minutes each
	hack/e2e.sh short

.PHONY: compat
compat: ## Selvage on the oldest API server that it supports (root; docs/upgrade.md)
	hack/compat.sh

.PHONY: chaos
chaos: ## Break a real cluster at random for CHAOS_MINUTES (default 5), from CHAOS_SEED, and judge what was seen (root)
	go run ./test/e2e/chaos --minutes $(CHAOS_MINUTES) --seed $(CHAOS_SEED) $(CHAOSFLAGS)

.PHONY: screenshots
screenshots: ## Take the pictures of the documentation anew, in a real browser
	hack/setup.sh
	go test -count=1 -timeout 20m ./test/e2e/web -args -update-screenshots

.PHONY: bench
bench: ## Measure allocation, CNI ADD and DEL beside bridge+host-local; writes bench/results.txt
	hack/bench.sh

.PHONY: bench-pods
bench-pods: ## Measure pods' sandboxes on real nodes beside bridge+host-local, and what agent and controller cost
	go run ./test/bench/pods -o bench/pods.txt

.PHONY: fuzz
fuzz: ## Fuzz every parser, FUZZTIME each (default 20s)
	hack/fuzz.sh $(FUZZTIME)

##@ Release (docs/supply-chain.md)

.PHONY: sbom
sbom: $(TOOL)/cyclonedx-gomod ## What the programs are made of, into bin/sbom (CycloneDX), checked against the programs themselves
	go run ./hack/release sbom --tool $(TOOL)/cyclonedx-gomod

.PHONY: provenance
provenance: build images sbom ## Programs, images, and bin/provenance.json: what they were made of, and by what (in-toto, SLSA v1; unsigned)
	go run ./hack/release provenance
	go run ./hack/release verify

.PHONY: reproducible
reproducible: ## Build everything twice, in two folders and with nothing cached, and compare (minutes)
	go run ./hack/release rebuild

.PHONY: licences
licences: ## The licences of all that is compiled in, with their texts in bin/THIRD_PARTY.txt
	go run ./hack/licences --texts $(BIN)/THIRD_PARTY.txt ./cmd/...

.PHONY: vulncheck
vulncheck: $(TOOL)/govulncheck ## Known vulnerabilities that the programs can reach; says so loudly where it cannot know
	hack/vulncheck/vulncheck.sh $(TOOL)/govulncheck ./cmd/...

##@ Keep

.PHONY: generate
generate: $(TOOL)/controller-gen ## Generate deepcopies, CRDs, the controller's role, the chart's files and docs/reference
	$(TOOL)/controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(TOOL)/controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	$(TOOL)/controller-gen rbac:roleName=selvage-controller paths=./controllers output:rbac:dir=config/rbac
	hack/chart.sh
	go run ./hack/reference config docs/reference
	go run ./hack/licences --page docs/reference/licences.md ./cmd/...

.PHONY: lint
lint: $(TOOL)/golangci-lint ## Lint
	$(TOOL)/golangci-lint run
	cd test/monitoring && $(TOOL)/golangci-lint run

.PHONY: verify
verify: generate lint $(TOOL)/kustomize ## Regenerate, tidy, lint, render; fails if anything differs from what is committed
	hack/verify.sh $(TOOL)/kustomize

.PHONY: clean
clean: ## Remove what was built here
	rm -rf $(BIN)
