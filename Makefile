# Makefile - the only build file.  `make help` lists the targets.
#
# Sources are found by wildcard per folder; output goes to build/ (build/$(SAN)/ for sanitizers,
# build/clang/ with CC=clang).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

CC := gcc
SAN ?=
PREFIX ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0
JOBS = $(if $(findstring j,$(filter-out --%,$(MAKEFLAGS))),,-j$(shell nproc))

comma := ,
FLAVOUR := $(if $(SAN),/$(subst $(comma),-,$(SAN)))$(if $(findstring clang,$(CC)),/clang)
B := build$(FLAVOUR)
ARCH_FLAGS := $(if $(filter x86_64,$(shell uname -m)),-march=x86-64-v2)
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wvla -Werror
HARDEN := -fstack-protector-strong -fstack-clash-protection -fPIC $(if $(SAN),,-D_FORTIFY_SOURCE=2)
# A fuzzer's models are to end soon: values and loops of less.
FUZZ_LIMITS := -DTENSOR_BYTES_MAX=0x10000ull -DINFER_LOOP_STEPS_MAX=0x1000u
# Adding nothing to NULL is allowed by the next C and done where a tensor has no data yet.
OPT := $(if $(SAN),-O1 -fno-omit-frame-pointer -fsanitize=$(SAN) \
         $(if $(findstring fuzzer,$(SAN)),-fno-sanitize=pointer-overflow $(FUZZ_LIMITS)),-O3)
PACKAGES := libevent_core libevent_extra libevent_pthreads msgpack yaml-0.1 jansson sqlite3 \
            libzstd libxxhash libcrypto libcurl libprotobuf-c OpenCL
PKG_CFLAGS = $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS = $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)
CFLAGS = -std=c17 -g $(OPT) $(ARCH_FLAGS) $(WARN) $(HARDEN) -D_GNU_SOURCE -I. -I$(B) \
         -DOXBOW_VERSION='"$(VERSION)"' $(PKG_CFLAGS)
LDFLAGS = -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN)) -pthread
LIBS = $(PKG_LIBS) -ldl -lm

DEPS := gcc make git pkg-config libevent-dev libmsgpack-dev libyaml-dev libcmocka-dev \
        libjansson-dev libsqlite3-dev libzstd-dev libxxhash-dev libssl-dev libprotobuf-c-dev \
        protobuf-c-compiler libonnx-dev ocl-icd-opencl-dev pocl-opencl-icd libcurl4-openssl-dev curl

src = $(patsubst %.c,$(B)/%.o,$(wildcard $(1)))
CORE := $(call src,core/*.c)
TOPOLOGY := $(call src,topology/*.c)
PE := $(call src,pe/*.c pe/builtin/*.c pe/infer/*.c pe/infer/ops/*.c pe/infer/cl/*.c) \
      $(B)/onnx/onnx.pb-c.o
NET := $(call src,net/*.c)
WORKER := $(call src,$(filter-out worker/main.c,$(wildcard worker/*.c)))
MASTER := $(call src,$(filter-out master/main.c,$(wildcard master/*.c)))
CLI := $(call src,$(filter-out cli/main.c,$(wildcard cli/*.c)))
LIB := $(CORE) $(PE) $(NET) $(WORKER)
SUPPORT := $(call src,tests/support/*.c)
UNIT := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/*/*_test.c tests/sim/*_test.c \
        tests/sim/recovery/*_test.c))
E2E_TOOLS := $(patsubst %.c,$(B)/%,$(filter-out %/poison.c %/later.c,$(wildcard tests/e2e/*.c))) # plug-ins
FUZZ := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/*_fuzz.c))
BENCH := $(call src,$(filter-out bench/gentext.c bench/%_bench.c,$(wildcard bench/*.c)))
BENCH_UPGRADE := $(call src,$(filter-out bench/upgrade/pes.c,$(wildcard bench/upgrade/*.c)) \
                 bench/cluster.c bench/procs.c)
BENCH_RECOVERY := $(call src,$(wildcard bench/recovery/*.c) bench/upgrade/figures.c bench/cluster.c \
                  bench/procs.c)
BENCH_PROGRAMS := $(B)/bench/recovery/oxbow-bench-recovery $(B)/bench/oxbow-bench $(B)/bench/upgrade/oxbow-bench-upgrade \
                  $(B)/bench/upgrade/pes.so $(B)/bench/gentext $(B)/bench/bench_pes.so \
                  $(patsubst %.c,$(B)/%,$(wildcard bench/*_bench.c))
PROGRAMS := $(B)/oxbow $(B)/oxbow-master $(B)/oxbow-worker $(B)/liboxbow.a $(B)/liboxbow.so

.PHONY: all
all: deps-quiet ## build the programs and the library into build/
	@$(MAKE) --no-print-directory $(JOBS) programs

.PHONY: programs
programs: $(PROGRAMS) $(B)/oxbow.pc $(B)/include/oxbow/pe.h $(B)/oxbow.schema.json

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC $<"
	@$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

# ONNX's messages in C, from the packaged description.
ONNX_PROTO ?= /usr/include/onnx/onnx.proto
$(B)/onnx/onnx.pb-c.c $(B)/onnx/onnx.pb-c.h &: $(ONNX_PROTO)
	@mkdir -p $(B)/onnx
	@echo "  PROTOC $<"
	@protoc-c --c_out=$(B)/onnx -I$(dir $<) $(notdir $<)
$(B)/onnx/onnx.pb-c.o: $(B)/onnx/onnx.pb-c.c
	@echo "  CC $<"
	@$(CC) $(filter-out $(WARN),$(CFLAGS)) -c $< -o $@
$(patsubst %.c,$(B)/%.o,$(shell grep -lE 'infer/proto.h|onnx.pb-c.h' -r pe/infer tests --include=*.c)): \
  | $(B)/onnx/onnx.pb-c.h
# Kernels travel inside the library, one array of characters per file.
$(B)/pe/infer/cl/kernels.inc: $(sort $(wildcard pe/infer/cl/kernels/*.cl)) Makefile
	@mkdir -p $(@D)
	@for f in $(filter %.cl,$^); do n=$$(basename $$f .cl); \
	  echo "static const char cl_$$n[] = {"; od -An -v -tx1 $$f | sed 's/ \(..\)/0x\1,/g'; \
	  echo "0};"; done >$@
$(B)/pe/infer/cl/kernels.o: $(B)/pe/infer/cl/kernels.inc

$(B)/liboxbow.a: $(LIB)
	@rm -f $@
	@echo "  AR $@"
	@ar rcs $@ $^
$(B)/liboxbow.so: $(LIB)
	@echo "  LD $@"
	@$(CC) -shared $(LDFLAGS) -Wl,-soname,liboxbow.so.1 -o $@ $^ $(LIBS)
	@ln -sf liboxbow.so $(@D)/liboxbow.so.1
# Under LeakSanitizer programs that open devices forgive what tests do.
LEAKS := $(if $(findstring address,$(SAN)),$(B)/tests/support/leaks.o)
$(B)/oxbow-worker: $(B)/worker/main.o $(LIB) $(LEAKS)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LIBS)
$(B)/oxbow-master: $(B)/master/main.o $(MASTER) $(TOPOLOGY) $(NET) $(PE) $(CORE)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LIBS)
$(B)/oxbow: $(B)/cli/main.o $(CLI) $(TOPOLOGY) $(NET) $(PE) $(CORE) $(LEAKS)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LIBS)
$(B)/include/oxbow/pe.h: pe/pe.h
	@mkdir -p $(@D)
	@ln -sf $(abspath $<) $@
$(B)/oxbow.schema.json: $(B)/oxbow
	$(B)/oxbow pe list --schema >$@
$(B)/oxbow.pc: Makefile
	@mkdir -p $(@D)
	@printf 'prefix=%s\nName: oxbow\nDescription: SDK of the Oxbow stream engine\nVersion: %s\nCflags: -I$${prefix}/include\nLibs: -L$${prefix}/lib -loxbow\nLibs.private: %s\n' \
	  "$(PREFIX)" "$(VERSION)" "$(strip $(LIBS) -pthread)" >$@

# ---- tests
$(B)/tests/unit/%_test: $(B)/tests/unit/%_test.o $(SUPPORT) $(MASTER) $(CLI) $(TOPOLOGY) $(LIB)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LIBS) -lcmocka
$(B)/tests/unit/infer/session_test: | $(B)/oxbow-worker
.PHONY: test
test: all ## run everything below up to e2e; ends with `N passed, N failed`
	@$(MAKE) --no-print-directory $(JOBS) test-programs
	@tests/run.sh $(UNIT) $(filter-out %/lib.sh %/run.sh,$(wildcard tests/e2e/*.sh)) tests/fault/matrix.sh
.PHONY: test-programs
test-programs: programs $(UNIT) $(E2E_TOOLS) $(B)/bench/gentext
.PHONY: unit
unit: $(UNIT) ## build and run the unit tests
	@tests/run.sh $(UNIT)
.PHONY: e2e
e2e: programs $(E2E_TOOLS) $(B)/bench/gentext ## run the end-to-end tests; T="wordcount ..." picks
	@tests/e2e/run.sh $(T)
.PHONY: fault
fault: programs $(E2E_TOOLS) ## the kill matrix and KILLS (30) random kills; SEED=n, FAULT_CELLS=text
	@FAULT=all TEST_LIMIT_S=7200 tests/run.sh tests/fault/matrix.sh tests/fault/random.sh
$(B)/tests/e2e/makemodel: $(B)/tests/support/onnx_build.o
$(B)/tests/e2e/%: $(B)/tests/e2e/%.o $(CORE)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# The simulator: `make sim` looks for SIM_SECONDS on every core, `make sim SEED=n` shows one schedule.
SIM := $(call src,$(filter-out tests/sim/main.c tests/sim/live%.c %_test.c,$(wildcard tests/sim/*.c)))
SIM_SECONDS ?= 60
SIM_ARGS ?=
.PHONY: sim
sim: $(B)/tests/sim/sim $(B)/tests/sim/recovery/sim-recovery ## simulate upgrades, then failures, each for SIM_SECONDS (60); SEED=n shows an upgrade, RECOVERY=n a failure
ifndef RECOVERY
	@$(B)/tests/sim/sim $(if $(SEED),--seed $(SEED),--seconds $(SIM_SECONDS)) $(SIM_ARGS)
endif
ifndef SEED
	@$(B)/tests/sim/recovery/sim-recovery \
	  $(if $(RECOVERY),--seed $(RECOVERY),--seconds $(SIM_SECONDS)) $(SIM_ARGS)
endif
$(B)/tests/sim/sim: $(B)/tests/sim/main.o $(SIM) $(MASTER) $(CLI) $(TOPOLOGY) $(LIB)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LIBS) -lcmocka
# The worker's own code with small rings, over tests/sim/live_os.c instead of threads and sockets.
LIVE_FLAGS := -DRING_BATCHES=2 -DSQUEEZE_BATCHES=1 -DRUN_BATCHES_MAX=1
LIVE := $(patsubst %.c,$(B)/live/%.o,$(filter-out worker/main.c worker/task.c worker/timers.c \
          worker/agent%.c worker/embed.c worker/worker.c worker/link%.c worker/wire.c \
          worker/channel_set.c,$(wildcard worker/*.c)) $(filter-out tests/sim/live_main.c \
          tests/sim/live_test.c,$(wildcard tests/sim/live*.c)))
LIVE_WRAP := $(foreach f,clock_gettime loop_post pthread_create pthread_join pthread_setname_np \
               timer_new timer_set timer_stop timer_free,\
               -Wl,--wrap=$(f))
$(B)/live/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC $< (live)"
	@$(CC) $(CFLAGS) $(LIVE_FLAGS) -MMD -MP -c $< -o $@
LIVE_OBJECTS := $(LIVE) $(SIM) $(MASTER) $(TOPOLOGY) $(CORE) $(PE) $(NET)
.PHONY: sim-live
sim-live: $(B)/tests/sim/sim-live ## the same through the worker's own code: slower, closer
	@$(B)/tests/sim/sim-live $(if $(SEED),--seed $(SEED),--seconds $(SIM_SECONDS)) $(SIM_ARGS)
$(B)/tests/sim/sim-live: $(B)/live/tests/sim/live_main.o $(LIVE_OBJECTS)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) $(LIVE_WRAP) -rdynamic -o $@ $^ $(LIBS) -lcmocka
$(B)/tests/sim/live_test: $(B)/live/tests/sim/live_test.o $(LIVE_OBJECTS)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) $(LIVE_WRAP) -rdynamic -o $@ $^ $(LIBS) -lcmocka
# The same with checkpoints, deaths and recoveries.
SIM_RECOVERY := $(call src,$(filter-out %/main.c %_test.c,$(wildcard tests/sim/recovery/*.c)))
$(B)/tests/sim/recovery/sim-recovery: $(B)/tests/sim/recovery/main.o $(SIM_RECOVERY) $(SIM) \
    $(MASTER) $(CLI) $(TOPOLOGY) $(LIB)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LIBS) -lcmocka
$(B)/tests/sim/recovery/%_test: $(B)/tests/sim/recovery/%_test.o $(SIM_RECOVERY) $(SIM) $(MASTER) \
    $(CLI) $(TOPOLOGY) $(LIB)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LIBS) -lcmocka
$(B)/tests/sim/%_test: $(B)/tests/sim/%_test.o $(SIM) $(MASTER) $(CLI) $(TOPOLOGY) $(LIB)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LIBS) -lcmocka

# Fuzzers need clang, so they are a flavour of their own.
FUZZ_SECONDS ?= 60
FUZZ_SAN := fuzzer-no-link,address,undefined
FUZZ_DIR := build/$(subst $(comma),-,$(FUZZ_SAN))/clang
ONNX_DATA ?= /usr/share/libonnx-testdata/data
.PHONY: fuzz fuzz-build
fuzz: ## run each fuzzer for FUZZ_SECONDS (60); needs clang
	@echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' | \
	  clang -x c -fsanitize=fuzzer - -o /dev/null 2>/dev/null || { echo \
	  "fuzz: clang with libFuzzer is missing; apt-get install clang libclang-rt-dev"; exit 1; }
	@$(MAKE) --no-print-directory $(JOBS) fuzz-build CC=clang SAN=$(FUZZ_SAN)
	@mkdir -p build/fuzz/model_fuzz; for m in $(ONNX_DATA)/node/*/model.onnx; do \
	  [ ! -f "$$m" ] || cp -n "$$m" build/fuzz/model_fuzz/$$(basename $$(dirname $$m)); done
	@$(FUZZ_DIR)/tests/fuzz/model_seeds build/fuzz/model_fuzz 300
	@for f in $(basename $(notdir $(FUZZ))); do \
	  mkdir -p build/fuzz/$$f tests/fuzz/corpus/$${f%_fuzz}; echo "== $$f"; \
	  UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 $(FUZZ_DIR)/tests/fuzz/$$f \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix=build/fuzz/$$f- \
	    build/fuzz/$$f tests/fuzz/corpus/$${f%_fuzz}; done
	@echo "fuzz: $(words $(FUZZ)) fuzzers, no crash"
fuzz-build: $(FUZZ) $(B)/tests/fuzz/model_seeds
$(B)/tests/fuzz/model_seeds: $(B)/tests/fuzz/model_seeds.o $(B)/tests/support/onnx_build.o $(CORE)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/tests/fuzz/model_fuzz: $(B)/tests/fuzz/model_fuzz.o $(PE) $(CORE)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)
$(B)/tests/fuzz/%_fuzz: $(B)/tests/fuzz/%_fuzz.o $(MASTER) $(CLI) $(TOPOLOGY) $(LIB)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

# ONNX's own tests on each of PATHS; CONFORMANCE="node" picks suites or tests, and names each.
CONFORMANCE ?= --quiet
PATHS ?= reference,cpu,cpu+weights,gpu,gpu+weights
.PHONY: conformance
conformance: $(B)/tests/conformance/conformance ## run the ONNX project's tests by reference, on CPU and GPU devices; PATHS=reference picks
	@dpkg -s libonnx-testdata >/dev/null 2>&1 || $(MAKE) --no-print-directory deps \
	  DEPS=libonnx-testdata
	@$(B)/tests/conformance/conformance --device $(PATHS) $(CONFORMANCE)
$(B)/tests/conformance/conformance: $(B)/tests/conformance/conformance.o $(PE) $(CORE)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# ---- measuring: floors get the flags of a program built for this machine alone
.PHONY: bench
bench: programs $(BENCH_PROGRAMS) ## measure throughput and latency beside hand-written C
	@$(B)/bench/oxbow-bench $(BENCH_ARGS)
$(B)/bench/floor_%.o: ARCH_FLAGS = -march=native
$(B)/bench/oxbow-bench: $(BENCH) $(PE) $(CORE)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
.PHONY: bench-upgrade bench-cost
bench-upgrade: programs $(BENCH_PROGRAMS) ## measure live changes beside three other strategies
	@$(B)/bench/upgrade/oxbow-bench-upgrade $(BENCH_ARGS)
bench-cost: programs $(BENCH_PROGRAMS) ## count what being able to change costs while nothing does
	@bench/upgrade/cost.sh $(B)
$(B)/bench/upgrade/oxbow-bench-upgrade: $(BENCH_UPGRADE) $(CORE)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
.PHONY: bench-recovery
bench-recovery: programs $(BENCH_PROGRAMS) ## measure recoveries, and what checkpoints cost
	@$(B)/bench/recovery/oxbow-bench-recovery $(BENCH_ARGS)
$(B)/bench/recovery/oxbow-bench-recovery: $(BENCH_RECOVERY) $(CORE)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/bench/gentext: $(B)/bench/gentext.o $(CORE)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/bench/infer_bench: $(call src,bench/infer_models.c bench/onnx_write.c bench/ort.c \
                          bench/infer_pe_alone.c bench/lone_host.c)
$(B)/bench/swap_bench: $(call src,bench/infer_models.c bench/onnx_write.c bench/cluster.c \
                         bench/procs.c bench/upgrade/figures.c)
$(B)/bench/%_bench: $(B)/bench/%_bench.o $(PE) $(CORE)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/bench/%.so: $(B)/bench/%.o
	@echo "  LD $@"
	@$(CC) -shared $(LDFLAGS) -o $@ $^

.PHONY: demo
demo: all ## count words on two workers, change the topology three times meanwhile, check the counts
	@OXBOW_BIN=$(abspath $(B)) examples/live/run.sh --workers 2

.PHONY: docs
docs: $(B)/oxbow ## write docs/PES.md from the descriptions of the built-in PEs
	$(B)/oxbow pe show --all --format markdown >docs/PES.md

.PHONY: tidy
tidy: ## check the house style; clang-tidy and shellcheck too where installed
	@tests/tidy.sh
tidy: export TIDY_CFLAGS = $(filter-out -Werror -DOXBOW%,$(CFLAGS)) -DOXBOW_VERSION="0"

.PHONY: format
format: ## format the sources with clang-format
	clang-format -i $$(git ls-files '*.c' '*.h')

.PHONY: deps deps-quiet
deps: ## install the packages that are missing (Debian, Ubuntu)
	@missing=; for p in $(DEPS); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	run=; [ "$$(id -u)" = 0 ] || run=sudo; \
	if [ -n "$$run" ] && ! sudo -n true 2>/dev/null && [ ! -t 0 ]; then \
	  echo "missing packages; run: sudo apt-get install -y$$missing"; exit 1; fi; \
	$$run apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive $$run apt-get install -y -qq --no-install-recommends $$missing
deps-quiet:
	@$(MAKE) --no-print-directory deps

.PHONY: install
install: programs ## copy programs, library and header to PREFIX (/usr/local) below DESTDIR
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin include/oxbow lib/pkgconfig)
	install -m 755 $(B)/oxbow $(B)/oxbow-master $(B)/oxbow-worker $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(B)/liboxbow.a $(DESTDIR)$(PREFIX)/lib
	install -m 755 $(B)/liboxbow.so $(DESTDIR)$(PREFIX)/lib/liboxbow.so.1
	ln -sf liboxbow.so.1 $(DESTDIR)$(PREFIX)/lib/liboxbow.so
	install -m 644 pe/pe.h $(DESTDIR)$(PREFIX)/include/oxbow
	sed 's|^prefix=.*|prefix=$(PREFIX)|' $(B)/oxbow.pc \
	  >$(DESTDIR)$(PREFIX)/lib/pkgconfig/oxbow.pc

.PHONY: clean
clean: ## remove build/
	rm -rf build
.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

-include $(shell find $(B) -name '*.d' 2>/dev/null)
