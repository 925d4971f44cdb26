# motbench. `make help` lists the targets; `make config` shows what was found on this machine.

# CFLAGS and LDFLAGS are the user's. What the project itself needs is in OWN and LDLIBS.
CFLAGS ?= -O3 -g -march=$(ARCH)
ARCH   ?= native
SAN    ?=
V      := $(if $(SAN),-san)$(if $(filter-out native,$(ARCH)),-$(ARCH))
B      := build/$(notdir $(CC))$V

OWN := -std=c11 -I. -I$B -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wvla \
       -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter -fopenmp -fno-math-errno \
       -fno-trapping-math -MMD -MP
ifneq ($(SAN),)
CFLAGS  = -O1 -g -fno-omit-frame-pointer -march=$(ARCH)
OWN    += -fsanitize=address,undefined -fno-sanitize-recover=all
endif
export ASAN_OPTIONS  := abort_on_error=1:detect_leaks=1
export UBSAN_OPTIONS := halt_on_error=1:abort_on_error=1:print_stacktrace=1
LDLIBS := -ldnnl -lsqlite3 -linih -ljansson -lcsv -lmd -lhwloc -lm

# Debian packages: to build and run; to test.
DEPS      := gcc libc6-dev libdnnl-dev libsqlite3-dev libinih-dev libjansson-dev libcsv-dev libmd-dev \
             libhwloc-dev zlib1g-dev gnuplot-nox ca-certificates
TEST_DEPS := libcriterion-dev sqlite3 clang-format
LDLIBS    += -lz

FOLDERS := base models models/kernels models/kernels/ref models/kernels/cpu models/kernels/null \
           workloads profiles results harness
SOURCES := $(filter-out harness/main.c,$(foreach d,$(FOLDERS),$(wildcard $d/*.c)))
TESTS   := $(wildcard tests/*.c)
ALL_C   := $(SOURCES) harness/main.c $(TESTS)
ALL_H   := $(foreach d,$(FOLDERS) tests,$(wildcard $d/*.h))
TEXTS   := $(wildcard results/*.sql plots/*.sql plots/*.gp)
obj      = $(patsubst %.c,$B/%.o,$1)

.PHONY: all deps test-deps demo test check layers format format-check config bench golden help clean
all: $B/motbench
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

$B/motbench: $(call obj,harness/main.c) $B/libmotbench.a
	$(CC) $(OWN) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$B/libmotbench.a: $(call obj,$(SOURCES))
	@rm -f $@
	$(AR) rcs $@ $^
$B/tests/all: $(call obj,$(TESTS)) $B/libmotbench.a
	$(CC) $(OWN) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcriterion $(LDLIBS)
# SQL and gnuplot scripts become C strings, so that the program needs no file beside it.
$B/%.inc: %
	@mkdir -p $(@D)
	sed -e 's/[\\"]/\\&/g' -e 's/.*/"&\\n"/' $< > $@
.SECONDARY: $(TEXTS:%=$B/%.inc)
$B/%.o: %.c | deps $(TEXTS:%=$B/%.inc)
	@mkdir -p $(@D)
	$(CC) $(OWN) $(CFLAGS) -c -o $@ $<
-include $(patsubst %.c,$B/%.d,$(ALL_C))

deps: ; @true
layers: ; @true
