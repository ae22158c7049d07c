# Development: build, test, demonstrate. Users of the package need none of this, see README.md.
# Everything made here goes into target/, which cargo and R share.

SHELL = /bin/bash
BUILD = $(CURDIR)/target/r
VERSION = $(shell sed -n 's/^Version: *//p' DESCRIPTION)
TARBALL = $(BUILD)/scVAE_$(VERSION).tar.gz
LIBRARY = $(BUILD)/library
SOURCES = DESCRIPTION NAMESPACE Cargo.toml Cargo.lock build.rs configure cleanup \
  $(shell find R src man tests inst vignettes -type f -not -name '*.o' -not -name '*.so' \
    -not -name Makevars -not -name rust-built -not -path 'src/rust-target/*' \
    -not -path 'tests/cuda_on_cpu/*' 2>/dev/null)

# One cargo target folder for the tests and the R package: its dependencies are compiled once.
export SCVAE_CARGO_TARGET ?= $(CURDIR)/target
export SCVAE_TEST_DATA ?= $(abspath $(CURDIR)/../shared/data)
export BUILD TARBALL

# The R package is built for the CPU here, nvcc or not, so that it shares what the tests have compiled.
export SCVAE_CUDA ?= 0

.PHONY: help deps test test-cuda test-gpu test-seurat5 test-slurm test-dist cran-check bioc-check demo \
  bench-speed bench-gpu docs site tarball dist clean

help:
	@echo 'make test          the checks: Rust, R, documentation, R CMD check'
	@echo 'make test-cuda     the CUDA backend alone, on a CPU that plays a GPU'
	@echo 'make test-gpu      its tests on a GPU, to target/gpu-tests.json'
	@echo 'make test-seurat5  the R tests on Debian trixie (R 4.5, Seurat 5), in a chroot'
	@echo 'make test-slurm    scScore() over a Slurm cluster of one node, started for it'
	@echo 'make test-dist     the source package with all crates, installed without network'
	@echo 'make cran-check    R CMD check --as-cran without remote checks, on this R and on R 4.5 (the chroot)'
	@echo 'make bioc-check    BiocCheck of the sources, without its questions to the network'
	@echo 'make demo          fit simulated counts, write demo-output/'
	@echo 'make demo DATA=file.h5ad LABEL=cell_type BATCH=batch   the same with counts of yours'
	@echo 'make bench-speed   time and memory beside scVI; PYTHON with bench/peers/requirements.txt'
	@echo 'make bench-gpu     training speed on a GPU, beside scVI if PYTHON has it: target/bench-gpu.jsonl'
	@echo 'make docs          write R/extendr-wrappers.R, NAMESPACE, man/ and inst/AUTHORS anew'
	@echo 'make site          the documentation as web pages, articles with real cells: target/site'
	@echo 'make dist          the source package; VENDOR=1: with all crates, builds offline'
	@echo 'make deps          install the Debian packages that are missing'
	@echo 'make clean         remove what was made, the compiled crates and the CUDA toolkit excepted'

deps:
	@tools/install-deps.sh

test: deps
	@tools/run-tests.sh

test-cuda: deps
	@tools/cuda-tests.sh

# With programs that were built elsewhere, neither Rust nor R is needed.
test-gpu: $(if $(CUDA_TEST_BINARY),,deps)
	@tools/gpu-tests.sh test target/gpu-tests.json

test-seurat5:
	@tools/install-deps.sh debootstrap
	@$(MAKE) --no-print-directory tarball
	@tools/trixie-chroot.sh test '$(TARBALL)' '$(SCVAE_TEST_DATA)'

test-slurm:
	@tools/install-deps.sh slurm-wlm munge r-cran-batchtools
	@$(MAKE) --no-print-directory $(LIBRARY)/.installed
	@trap '$(CURDIR)/tools/slurm-cluster.sh stop' EXIT; \
	  slurm=$$(tools/slurm-cluster.sh start) && eval "$$slurm" && \
	  export USER=$$(id -un) R_LIBS='$(LIBRARY)' && cd $(BUILD) && \
	  Rscript $(CURDIR)/tools/workers.R $(SLURM_COUNTS)

# All crates are compiled: minutes.
test-dist:
	@$(MAKE) --no-print-directory dist VENDOR=1
	@tools/offline-build.sh '$(notdir $(TARBALL))'

# Without the checks that ask the network.
cran-check: deps
	@tools/install-deps.sh debootstrap devscripts
	@$(MAKE) --no-print-directory tarball
	rm -rf $(BUILD)/cran && mkdir -p $(BUILD)/cran/web/packages
	@# In place of the list of all packages, where packages that are not installed would be looked up.
	Rscript -e 'saveRDS(data.frame(Package = "", Maintainer = ""), "$(BUILD)/cran/web/packages/packages.rds")'
	. tools/build-env.sh && cd $(BUILD)/cran && export _R_CHECK_FORCE_SUGGESTS_=false \
	  _R_CHECK_CRAN_INCOMING_=false R_CRAN_WEB=file://$(BUILD)/cran SCVAE_TEST_DATA= && \
	  R CMD check --as-cran --no-manual '$(TARBALL)'
	! grep -E '^Status: .*(ERROR|WARNING)' $(BUILD)/cran/scVAE.Rcheck/00check.log
	@tools/trixie-chroot.sh check '$(TARBALL)'

bioc-check: deps
	@tools/install-deps.sh r-bioc-bioccheck
	rm -rf $(BUILD)/bioc && mkdir -p $(BUILD)/bioc/scVAE
	git ls-files | grep -v '^bench/' | tar -c -T - | tar -x -C $(BUILD)/bioc/scVAE
	. tools/build-env.sh && Rscript tools/bioc-check.R $(BUILD)/bioc/scVAE

demo: deps
	@$(MAKE) --no-print-directory $(LIBRARY)/.installed
	@R_LIBS='$(LIBRARY)' Rscript tools/demo.R '$(DATA)' '$(LABEL)' '$(BATCH)'

PYTHON ?= python3

# An hour on two cores, which must be idle otherwise.
bench-speed: deps
	@$(MAKE) --no-print-directory $(LIBRARY)/.installed
	R_LIBS='$(LIBRARY)' PYTHON='$(PYTHON)' bench/speed.sh '$(SCVAE_TEST_DATA)'

bench-gpu: $(if $(CUDA_SPEED_BINARY),,deps)
	@PYTHON='$(PYTHON)' tools/gpu-tests.sh bench target/bench-gpu.jsonl

docs: deps
	. tools/build-env.sh && cargo run --quiet --release --features r --bin wrappers
	Rscript tools/document.R .
	. tools/build-env.sh && Rscript tools/crate-authors.R

# Nothing is fetched: what the pages need comes with pkgdown.
site: deps
	@tools/install-deps.sh r-cran-pkgdown
	@$(MAKE) --no-print-directory $(LIBRARY)/.installed
	R_LIBS='$(LIBRARY)' Rscript -e 'options(pkgdown.internet = FALSE)' \
	  -e 'site <- list(destination = "target/site")' \
	  -e 'pkgdown::build_site(devel = FALSE, install = FALSE, preview = FALSE, override = site)'

tarball: $(TARBALL)

$(TARBALL): $(SOURCES)
	@rm -rf $(BUILD)/source && mkdir -p $(BUILD)/source
	@# R would copy all of target/ before it leaves it out.
	tar -c --exclude=./target --exclude=./.git . | tar -x -C $(BUILD)/source
	@# From simulated cells; `make site` takes the real ones.
	cd $(BUILD) && rm -f scVAE_*.tar.gz && SCVAE_TEST_DATA= R CMD build $(R_BUILD_FLAGS) source

$(LIBRARY)/.installed: $(SOURCES)
	@mkdir -p $(LIBRARY)
	R CMD INSTALL --library=$(LIBRARY) . >$(BUILD)/install.log 2>&1 || \
	  { cat $(BUILD)/install.log; exit 1; }
	@touch $@

# The crates are added to the finished package: R CMD build would compile them all for the vignette.
dist: deps
	@$(MAKE) --no-print-directory tarball
ifdef VENDOR
	rm -rf $(BUILD)/vendored && mkdir -p $(BUILD)/vendored
	cargo vendor --quiet --locked $(BUILD)/vendored/vendor >/dev/null
	tar -xzf $(TARBALL) -C $(BUILD)/vendored
	tar -cf $(BUILD)/vendored/scVAE/src/vendor.tar.xz -I 'xz -9' -C $(BUILD)/vendored vendor
	tar -czf $(notdir $(TARBALL)) -C $(BUILD)/vendored scVAE
	rm -rf $(BUILD)/vendored
else
	cp $(TARBALL) .
endif

clean:
	./cleanup
	rm -rf $(BUILD) demo-output scVAE_*.tar.gz
	rm -rf $(SCVAE_CARGO_TARGET)/cuda-on-cpu target/gpu-tests.json target/bench-gpu.jsonl
