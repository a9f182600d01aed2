# A thin front for developers; Meson and Ninja do the work. `make help` lists the targets.
# V=VARIANT picks another build: make V=asan test, make V=debug
V ?= release
BUILD := $(if $(filter release,$(V)),build,build/$(V))
VARIANTS := debug asan ubsan tsan torture
PYTHON ?= python3
SEEDS ?= 1..500

all: $(BUILD)/build.ninja ## build the libraries, the tool and the examples
	@ninja -C $(BUILD)

build/build.ninja:
	meson setup build

build/%/build.ninja:
	meson setup build/$* -Dvariant=$*

test: all ## run the tests; T=name picks one, V=asan a variant
	meson test -C $(BUILD) --no-rebuild --print-errorlogs $(T)

seeds: all ## run the tests that have seeds with many: SEEDS=1..500, T=name picks
	$(PYTHON) tools/seeds --build $(BUILD) --seeds $(SEEDS) $(T)

$(VARIANTS): ## build that variant in build/VARIANT and run its tests
	@$(MAKE) --no-print-directory V=$@ $(if $(filter debug,$@),all,test)

bench: all ## measure against the peers; BENCH=a,b selects
	@ninja -C $(BUILD) bench-programs
	$(PYTHON) bench/run.py --builddir $(BUILD) $(BENCH)

install: $(BUILD)/build.ninja ## install; PREFIX=/usr/local, DESTDIR= and V= say where and what
	$(if $(PREFIX),meson configure $(BUILD) -Dprefix=$(abspath $(PREFIX)))
	@ninja -C $(BUILD)
	meson install -C $(BUILD) --no-rebuild

gates: all ## floors, symbols, headers, format, lines, words, manual
	$(PYTHON) tools/gates/all --build $(BUILD)

check-format: ## say which files clang-format would change
	$(PYTHON) tools/gates/format

format: ## change them
	$(PYTHON) tools/gates/format --fix

man: all ## manual pages into build/man
	$(PYTHON) tools/gen_man.py --tool $(BUILD)/loam --out build/man

bare: ## ./run and ./check in a bare Debian bookworm (root)
	tools/bare-test

clean: ## remove everything built
	rm -rf build

help: ## this list
	@sed -n 's/^\([$$(A-Za-z)_-]*\):.*## \(.*\)/\1\t\2/p' Makefile | \
	    sed 's/^$$(VARIANTS)/$(VARIANTS)/' | expand -t 32

.PHONY: all test seeds bench install gates check-format format man bare clean help $(VARIANTS)
