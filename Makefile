# SPDX-License-Identifier: MIT
# A thin front: meson builds userspace, Kbuild the module, tests/ and bench/ hold the scripts.

BUILD ?= build
# Options of `make demo`.
MODEL ?=
PROMPT ?=
DEVICE ?=

.DEFAULT_GOAL := all
.PHONY: all help deps demo check check-quick check-kmod check-debug-kernel check-asan check-tsan soak \
	fuzz style format bench bench-coldstart bench-serving bench-connections bench-kmod \
	install uninstall clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

all: $(BUILD)/build.ninja ## build everything into build/
	@ninja -C $(BUILD) product
	@[ -e $(BUILD)/hearth ] || ln -s cli/hearth $(BUILD)/hearth

$(BUILD)/build.ninja:
	@scripts/deps build
	@meson setup $(BUILD) $(MESON_OPTIONS)

deps: ## install what building and testing need (asks for root)
	@scripts/deps build test vulkan

# by the environment and as they were typed: a prompt may hold quotes and dollars
demo: override export MODEL := $(value MODEL)
demo: override export PROMPT := $(value PROMPT)
demo: override export DEVICE := $(value DEVICE)
demo: ## build, start a private daemon, load a model, stream an answer (MODEL=, PROMPT=, DEVICE=)
	@BUILD='$(BUILD)' MESON_OPTIONS='$(MESON_OPTIONS)' scripts/demo

check: ## run all tests (installs what they need)
	@scripts/deps build test vulkan
	@$(MAKE) --no-print-directory all
	@ninja -C $(BUILD)
	@BUILD='$(BUILD)' tests/run

check-quick: all ## run the tests that take seconds
	@ninja -C $(BUILD)
	@BUILD='$(BUILD)' tests/run --quick

check-kmod: ## test the kernel module in QEMU on Debian's 6.12 and 7.2
	@tests/vm/check stock

check-debug-kernel: all ## the same, and the daemon, on a kernel with KASAN, lockdep, kmemleak, fault injection
	@ninja -C $(BUILD)
	@BUILD_DIR='$(abspath $(BUILD))' tests/vm/check debug

check-asan: ## run the quick tests and a short soak under AddressSanitizer and UBSan
	@scripts/deps build test vulkan
	@tests/sanitize address,undefined

check-tsan: ## run the quick tests and a short soak under ThreadSanitizer
	@scripts/deps build test vulkan
	@tests/sanitize thread

soak: all ## a daemon under everything at once (SECONDS=3600); see tests/soak/run
	@BUILD_DIR='$(abspath $(BUILD))' tests/soak/run $(or $(SECONDS),3600)

fuzz: ## run every fuzz target for a minute each (SECONDS_EACH=, TARGET=)
	@scripts/deps build fuzz
	@tests/fuzz/run

style: ## check formatting, include directions, SPDX lines, spelling
	@scripts/deps style
	@tests/style/run

format: ## format the C sources in place
	@git ls-files 'daemon/*.[ch]' 'kernels/*.[ch]' 'cli/*.[ch]' 'lib/*.[ch]' 'tests/*.[ch]' \
		'bench/*.[ch]' | grep -vE '^(tests/kmod|tests/vm|bench/kmod)/' | xargs clang-format -i

bench: all ## measure speed and memory (see bench/README.md)
	@BUILD='$(BUILD)' bench/run

bench-coldstart: all ## from exec to the first token, and memory, beside the peer (MIB=, RUNS=, DEVICE=)
	@BUILD='$(BUILD)' bench/coldstart

bench-serving: all ## many clients on one model, beside the peer (CLIENTS=, MODEL=, LAYERS=)
	@BUILD='$(BUILD)' bench/serving

bench-connections: all ## memory of idle connections, CPU and allocations of many streams (IDLE=, STREAMS=)
	@BUILD='$(BUILD)' bench/connections

bench-kmod: ## the module's pools beside memfd, THP, hugetlb and udmabuf in a guest
	@bench/kmod/run

install: all ## install into $(DESTDIR)/usr/local
	@meson install -C $(BUILD) --no-rebuild

uninstall: ## remove what install put there
	@ninja -C $(BUILD) uninstall

clean: ## remove the build directory
	@rm -rf $(BUILD)
