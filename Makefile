# btc: build, test, demo. `make help` lists the targets.
#
# Everything built lies under build/. Sources are found by wildcard; header dependencies by -MMD.

CC      ?= cc
BUILD   ?= build
OPT     ?= -O2 -g
SAN     ?=
CFLAGS  ?= $(OPT)
WARN    := -Wall -Wextra -Wshadow
ALL_CFLAGS := -std=gnu17 $(CFLAGS) $(WARN) $(SAN) -Icompiler -Iruntime -I$(BUILD) -MMD -MP
OPENMP  ?= -fopenmp
# The same bits on every processor: no contraction to fused multiply-adds. Nobody reads floating-point flags, and loops
# with conditions become vectors without them.
RT_CFLAGS  := -O3 -ffp-contract=off -fno-trapping-math $(OPENMP)
LDLIBS  := -lopenblas -ljansson -lz -ljpeg -lpng -lm -ldl
PREFIX  ?= /usr/local

COMMAND_SRC := compiler/main.c $(wildcard compiler/cmd_*.c)
LIB_SRC     := $(filter-out $(COMMAND_SRC),$(wildcard compiler/*.c compiler/ops/*.c))
RT_SRC      := $(wildcard runtime/*.c)
TEST_SRC    := $(wildcard tests/unit/test_*.c)
HELPER_SRC  := $(filter-out $(TEST_SRC),$(wildcard tests/unit/*.c))

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB_OBJ     := $(call objects,$(LIB_SRC)) $(BUILD)/obj/btg.tab.o $(BUILD)/obj/btg.lex.o
RT_OBJ      := $(call objects,$(RT_SRC))
COMMAND_OBJ := $(call objects,$(COMMAND_SRC))
HELPER_OBJ  := $(call objects,$(HELPER_SRC))
TESTS       := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(TEST_SRC))

# A line for each file that is made; `make V=1` shows the commands.
ifndef V
.SILENT:
endif
say = @printf '  %-6s %s\n' $(1) $(patsubst $(BUILD)/%,%,$@)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all help setup demo test check-sanitizers fuzz fuzz-loaders fuzz-coverage fuzz-build fuzzers bench format install clean random-programs planted-bugs planted-program long-run

all: $(BUILD)/btc $(BUILD)/libbtrt.a ## build the compiler and the runtime

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## install what is missing on Debian 12 (as root or by sudo; else print the command)
	@tests/setup.sh

# The two commands of the README install what is missing first, then call make again, so that the
# package lists are in one place (tests/setup.sh).
demo: ## install, build, train on Fashion-MNIST, print the table
	@tests/setup.sh dataset
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@examples/demo.sh $(BUILD)

test: ## install, build, run every test
	@tests/setup.sh dataset test
	@$(MAKE) --no-print-directory -j$$(nproc) all tests
	@tests/run.sh $(BUILD)

.PHONY: tests
tests: $(TESTS)

check-sanitizers: ## build all and the tests with address and undefined sanitizers (make test runs them)
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=$(BUILD)/sanitize OPT="-O1 -g" \
	  SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined" all tests

fuzz: fuzz-build ## fuzz the front end for FUZZ_SECONDS (default 600)
	@tests/fuzz/run.sh fuzz $(BUILD)/fuzz $${FUZZ_SECONDS:-600}

fuzz-loaders: fuzz-build ## fuzz each reader of files, or FUZZ_TARGETS, for FUZZ_SECONDS (default 600)
	@tests/fuzz/run.sh fuzz-loaders $(BUILD)/fuzz $${FUZZ_SECONDS:-600}

fuzz-coverage: ## the lines of the front end and of the readers of files that the kept corpus reaches
	@$(FUZZ_MAKE) BUILD=$(BUILD)/fuzz-coverage SAN="-fprofile-instr-generate -fcoverage-mapping" fuzzers
	@tests/fuzz/run.sh coverage $(BUILD)/fuzz-coverage

# libFuzzer comes with clang. No OpenMP: see tests/fuzz/serial/omp.h.
CLANG     ?= clang-19
FUZZ_MAKE  = tests/fuzz/run.sh needs $(CLANG) && $(MAKE) --no-print-directory -j$$(nproc) CC=$(CLANG) OPT="-O1 -g" \
             OPENMP="-Itests/fuzz/serial -Wno-unknown-pragmas -Wno-unused-parameter"
fuzz-build:
	@$(FUZZ_MAKE) BUILD=$(BUILD)/fuzz SAN="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined" fuzzers

random-programs: $(BUILD)/btc $(BUILD)/tests/test_random_programs ## check 1,000 random programs, C against the interpreter
	@BTC_RANDOM_SEED=0 BTC_RANDOM_PROGRAMS=1000 OMP_WAIT_POLICY=passive $(BUILD)/tests/test_random_programs

long-run: all ## train for 30 minutes with kills, resumes and evaluations; memory and descriptors must stay flat
	@tests/long_run.sh $(BUILD)

planted-bugs: $(BUILD)/btc $(BUILD)/tests/test_random_programs ## plant known bugs, each of which random programs must find
	@BUILD=$(abspath $(BUILD)) tests/planted_bugs.sh

# The test of random programs with one source of the compiler, PLANTED/compiler/…, in place of ours.
planted-program:
	$(CC) $(ALL_CFLAGS) $(OPENMP) -iquote $(dir $(SOURCE)) -c -o $(PLANTED)/changed.o $(PLANTED)/$(SOURCE)
	$(CC) $(CFLAGS) $(SAN) $(OPENMP) -rdynamic -o $(PLANTED)/test $(BUILD)/obj/tests/unit/test_random_programs.o \
	  $(HELPER_OBJ) $(PLANTED)/changed.o $(BUILD)/libbtc.a $(BUILD)/libbtrt.a -lcmocka $(LDLIBS)

bench: all $(BUILD)/bench_conv $(BUILD)/bench_gemm $(BUILD)/bench_views ## time kernels, steps and views, against PyTorch
	@bench/run.sh $(BUILD)

# ---- rules ----

$(BUILD)/btc: $(COMMAND_OBJ) $(BUILD)/libbtc.a $(BUILD)/libbtrt.a
	$(call say,LINK)
	$(CC) $(CFLAGS) $(SAN) $(OPENMP) -rdynamic -o $@ $^ $(LDLIBS)

$(BUILD)/libbtc.a: $(LIB_OBJ)
	@rm -f $@
	$(call say,AR)
	ar rcs $@ $^

$(BUILD)/libbtrt.a: $(RT_OBJ)
	@rm -f $@
	$(call say,AR)
	ar rcs $@ $^

# One run makes both files, in either order of age.
$(BUILD)/btg.tab.c $(BUILD)/btg.tab.h &: grammar/btg.y
	@mkdir -p $(@D)
	$(call say,BISON)
	bison -Werror=conflicts-sr,conflicts-rr -d -o $(BUILD)/btg.tab.c $<
$(BUILD)/btg.lex.c $(BUILD)/btg.lex.h &: grammar/btg.l
	@mkdir -p $(@D)
	$(call say,FLEX)
	flex -o $(BUILD)/btg.lex.c --header-file=$(BUILD)/btg.lex.h $<
$(BUILD)/obj/btg.%.o: $(BUILD)/btg.%.c $(BUILD)/btg.tab.h $(BUILD)/btg.lex.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(CC) $(ALL_CFLAGS) -Igrammar -c -o $@ $<

$(call objects,$(wildcard compiler/parse*.c compiler/fmt*.c tests/unit/test_fmt.c)): $(BUILD)/btg.tab.h $(BUILD)/btg.lex.h
$(BUILD)/obj/compiler/%.o: compiler/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(CC) $(ALL_CFLAGS) $(OPENMP) -c -o $@ $<
$(BUILD)/obj/runtime/%.o: runtime/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(CC) $(ALL_CFLAGS) $(RT_CFLAGS) -c -o $@ $<
$(BUILD)/obj/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(CC) $(ALL_CFLAGS) $(OPENMP) -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(HELPER_OBJ) $(BUILD)/libbtc.a $(BUILD)/libbtrt.a
	@mkdir -p $(@D)
	$(call say,LINK)
	$(CC) $(CFLAGS) $(SAN) $(OPENMP) -rdynamic -o $@ $^ -lcmocka $(LDLIBS)

$(BUILD)/bench_%: $(BUILD)/obj/bench/bench_%.o $(BUILD)/obj/tests/unit/jit.o $(BUILD)/libbtc.a $(BUILD)/libbtrt.a
	$(call say,LINK)
	$(CC) $(CFLAGS) $(SAN) $(OPENMP) -rdynamic -o $@ $^ $(LDLIBS)
$(BUILD)/obj/bench/%.o: bench/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(CC) $(ALL_CFLAGS) $(OPENMP) -c -o $@ $<

FUZZERS_OF_TEXT  := front_end graph_text
FUZZERS_OF_FILES := tuned safetensors checkpoint idx npy events cifar image
fuzzers: $(FUZZERS_OF_TEXT:%=$(BUILD)/fuzz_%) $(FUZZERS_OF_FILES:%=$(BUILD)/fuzz_%)
$(FUZZERS_OF_TEXT:%=$(BUILD)/fuzz_%): $(BUILD)/obj/tests/fuzz/mutate.o
$(FUZZERS_OF_FILES:%=$(BUILD)/fuzz_%): $(BUILD)/obj/tests/fuzz/file.o
$(BUILD)/fuzz_events: $(BUILD)/obj/tests/unit/event_file.o
$(BUILD)/fuzz_%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/libbtc.a $(BUILD)/libbtrt.a
	$(call say,LINK)
	$(CC) $(CFLAGS) $(SAN) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS)
$(BUILD)/obj/tests/fuzz/%.o: tests/fuzz/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(CC) $(ALL_CFLAGS) $(OPENMP) -DFUZZ_HOME='"$(CURDIR)"' -c -o $@ $<

format: $(BUILD)/btc ## apply clang-format to the C, btc fmt to the models
	clang-format -i $$(git ls-files '*.c' '*.h')
	$(BUILD)/btc fmt -i stdlib/*.btg examples/*.btg tests/models/*.btg

docs/grammar.md: grammar/appendix.awk grammar/btg.l grammar/btg.y ## make the page of the grammar
	awk -f grammar/appendix.awk grammar/btg.l grammar/btg.y >$@

install: all ## install under PREFIX (default /usr/local)
	install -D $(BUILD)/btc $(DESTDIR)$(PREFIX)/bin/btc
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/btc/runtime runtime/*.h runtime/*.def
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/btc/stdlib stdlib/*.btg
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/btc/lib $(BUILD)/libbtrt.a

clean: ## remove everything built
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
