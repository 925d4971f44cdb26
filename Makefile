# motbench. `make help` lists the targets; `make config` shows what was found on this machine.

MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 1)

# CFLAGS and LDFLAGS are the user's; what the project itself needs is in OWN and LDLIBS.
# SAN=1 builds with the address and undefined-behaviour sanitizers, ARCH=x86-64-v3 a portable binary.
ARCH   ?= native
CFLAGS ?= $(if $(SAN),-O1 -fno-omit-frame-pointer,-O3) -g -march=$(ARCH)
# PAPI=0 builds without PAPI's counters, in a folder of its own.
PAPI   ?= 1
PAPI1  := $(filter-out 0,$(PAPI))
# MEDIA=0 builds without libsndfile, libpng, libjpeg, flite and libarchive: the data set `spoken`
# cannot be prepared then, and neither pictures, sounds nor archives imported.
MEDIA  ?= 1
MEDIA1 := $(filter-out 0,$(MEDIA))
B      := build/$(notdir $(CC))$(if $(SAN),-san)$(if $(filter-out native,$(ARCH)),-$(ARCH))
B      := $B$(if $(PAPI1),,-papi0)$(if $(MEDIA1),,-media0)$(if $(FUZZ),-fuzz)
# CUDA=0 builds without the backend for GPUs; EMULATE=1 runs its kernels on the host, for tests.
NVCC   ?= $(shell command -v nvcc 2>/dev/null)
CUDA   ?= $(if $(NVCC)$(EMULATE),1,0)
CUDA1  := $(filter-out 0,$(CUDA))
# Where there is no nvcc, that is the default, and the default is what build/cc holds.
B      := $B$(if $(EMULATE),-emulated,$(if $(CUDA1),,$(if $(NVCC),-cuda0)))
# Of CUDA's libraries these need the headers alone: they are opened while running.
CUDA_HOME ?= /usr/local/cuda
CUDNN  := $(if $(EMULATE),,$(wildcard $(CUDA_HOME)/include/cudnn_graph.h))
CUPTI  := $(wildcard $(CUDA_HOME)/include/cupti_range_profiler.h)

comma  := ,
FLITE  := $(patsubst %,-lflite_cmu_us_%,kal16 slt rms awb) -lflite_usenglish -lflite_cmulex -lflite
SANITIZE := $(if $(SAN),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all)
OWN    := -std=c11 -I. -I$B -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes \
          -Wmissing-prototypes -Wno-unused-parameter -fopenmp -fno-math-errno -fno-trapping-math \
          $(SANITIZE) $(if $(FUZZ),-fsanitize=fuzzer-no-link) -MMD -MP \
          $(if $(CUDA1),-DMB_CUDA) $(if $(EMULATE),-DMB_EMULATE -Itests/emulate) \
          $(if $(CUDNN)$(CUPTI),-isystem profiles/c -isystem $(CUDA_HOME)/include)
# What CUDA's own compiler gets, and for which devices: code for Hopper, and what others translate.
NVOWN  := -std=c++20 -O3 -I. -Werror all-warnings -Xcompiler -Wall,-Wextra,-fno-exceptions -MMD -MP
DEVICES ?= -gencode arch=compute_90,code=sm_90 -gencode arch=compute_80,code=compute_80
CUDART := $(addprefix -L$(CUDA_HOME)/,lib lib64) -lcudart_static -lstdc++ -ldl -lrt -lpthread
# Libraries of the emulated device come before all others of their names, and call it.
STAND_INS := -rdynamic -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/fake:$$ORIGIN/tests/fake'
LDLIBS := -lsqlite3 -linih -ljansson -lcsv -lmd -lhwloc -lz -lm $(if $(PAPI1),-lpapi -lsde) \
          $(if $(MEDIA1),-lsndfile -lpng -ljpeg -larchive $(FLITE)) $(if $(EMULATE),-lstdc++ $(STAND_INS),$(if $(CUDA1),$(CUDART)))

# As harness/main.c does for itself: tests share the machine with other work.
export GOMP_SPINCOUNT ?= 1000
# Leaks and undefined behaviour leave Criterion green unless they abort.
export ASAN_OPTIONS  := abort_on_error=1:detect_leaks=1
export UBSAN_OPTIONS := halt_on_error=1:abort_on_error=1:print_stacktrace=1

# Debian packages to build and run, and those that only tests need.
DEPS      := libsqlite3-dev libinih-dev libjansson-dev libcsv-dev libmd-dev libhwloc-dev \
             zlib1g-dev gnuplot-nox $(if $(PAPI1),libpapi-dev) \
             $(if $(MEDIA1),libsndfile1-dev libpng-dev libjpeg62-turbo-dev flite1-dev libarchive-dev)
TEST_DEPS := libcriterion-dev sqlite3 clang-format cppcheck

FOLDERS := base models models/kernels models/kernels/ref models/kernels/cpu models/kernels/null \
           models/kernels/cuda \
           workloads profiles results harness
MEDIA_C := $(patsubst %,workloads/%.c,sound_read picture jpeg voice tar)
CUDNN_C := $(patsubst %,models/kernels/cuda/%.c,cudnn cudnn_graph)
UNUSED  := harness/main.c profiles/$(if $(PAPI1),no_papi.c,papi.c) \
           $(patsubst %,profiles/%.c,$(if $(CUPTI),no_cupti no_activity,cupti cupti_sets activity)) \
           $(if $(CUDNN),models/kernels/cuda/no_cudnn.c,$(CUDNN_C)) \
           $(if $(CUDA1),,$(filter-out $(CUDNN_C) models/kernels/cuda/no_cudnn.c,$(wildcard models/kernels/cuda/*.c))) \
           $(if $(MEDIA1),workloads/no_media.c,$(MEDIA_C))
SOURCES := $(filter-out $(UNUSED),$(foreach d,$(FOLDERS),$(wildcard $d/*.c)))
KERNELS := $(if $(CUDA1),$(wildcard models/kernels/cuda/*.cu))
EMULATED := $(if $(EMULATE),tests/emulate/device.cpp)
TESTS   := $(filter-out $(if $(CUPTI),,tests/test_metrics.c) $(if $(MEDIA1),,tests/test_tar.c),$(wildcard tests/*.c))
# Stand-ins for libraries of a GPU, each called what it stands for.
FAKES   := $(if $(CUPTI),$(addprefix $B/tests/fake/,libcuda.so.1 libnvidia-ml.so.1 libcupti.so.13)) \
           $(if $(EMULATE),$(addprefix $B/tests/fake/,libcublasLt.so.13 libcublas.so.13))
# Programs of the benchmark: a worker, the driver, makers of large databases and of token data.
BENCH   := step driver synthetic tokens
BENCH_C := $(wildcard bench/*.c)
ALL_C   := $(SOURCES) harness/main.c $(TESTS) $(wildcard tests/fake/*.c tests/fuzz/*.c) $(BENCH_C)
ALL_H   := $(foreach d,$(FOLDERS) tests bench,$(wildcard $d/*.h)) \
           $(wildcard models/kernels/cuda/*.cu models/kernels/cuda/*.cuh tests/emulate/*)
TEXTS   := $(wildcard results/*.sql plots/*.sql plots/*.gp profiles/*.sql profiles/*.ini bench/*.sql)
obj      = $(addsuffix .o,$(patsubst %.c,$B/%,$(patsubst %.cpp,$B/%,$(patsubst %.cu,$B/%.cu,$1))))

.PHONY: all cpu-check cuda-check emulated deps test-deps demo test sources bench bench-peers bench-python gpu-check gpu-bundle bundle golden fuzz fuzz-run layers format format-check analyse config help clean
all: $B/motbench
.DELETE_ON_ERROR:
$B/motbench: $(call obj,harness/main.c) $B/libmotbench.a | $(if $(EMULATE),$(FAKES))
	$(CC) $(OWN) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$B/libmotbench.a: $(call obj,$(SOURCES) $(KERNELS) $(EMULATED))
	@rm -f $@
	$(AR) rcs $@ $^
$B/tests/all: $(call obj,$(TESTS)) $B/libmotbench.a | test-deps $(FAKES)
	$(CC) $(OWN) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcriterion $(LDLIBS)
$(call obj,$(TESTS)): | test-deps
$B/tests/fake/libcuda.so.1: tests/fake/libcuda.c
$B/tests/fake/libnvidia-ml.so.1: tests/fake/libnvidia-ml.c
$B/tests/fake/libcupti.so.13: tests/fake/libcupti.c profiles/cupti.h
$B/tests/fake/libcublasLt.so.13 $B/tests/fake/libcublas.so.13: tests/emulate/cublas.c $(wildcard tests/emulate/*.h)
$(FAKES):
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP -fsanitize%,$(OWN) $(CFLAGS)) -Wno-missing-prototypes -fPIC -shared -Wl,-soname,$(@F) -o $@ $<
$(BENCH:%=$B/bench/%): %: %.o $(call obj,$(filter-out $(BENCH:%=bench/%.c),$(BENCH_C))) $B/libmotbench.a
	$(CC) $(OWN) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
# The peak is that of fused multiply-adds, which -std=c11 keeps the compiler from making.
$B/bench/peak.o: OWN += -ffp-contract=fast
# Speech units are to differ as little as can be between machines.
$B/workloads/%.o $B/base/eigen.o: OWN += -ffp-contract=off
# SQL and gnuplot scripts become C strings, so that the program needs no file beside it.
$B/%.inc: %
	@mkdir -p $(@D)
	sed -e 's/[\\"]/\\&/g' -e 's/.*/"&\\n"/' $< > $@
.SECONDARY: $(TEXTS:%=$B/%.inc)
$B/%.o: %.c | deps $(TEXTS:%=$B/%.inc)
	@mkdir -p $(@D)
	$(CC) $(OWN) $(CFLAGS) -c -o $@ $<
ifdef EMULATE
$B/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(CXX) -x c++ -std=c++20 -O2 -g -I. -Itests/emulate -Wall -Wextra -Wno-unknown-pragmas $(SANITIZE) -MMD -MP -c -o $@ $<
$B/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) -std=c++20 -O2 -g -I. -Itests/emulate -Wall -Wextra -Wno-unknown-pragmas $(SANITIZE) -MMD -MP -c -o $@ $<
else
$B/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVOWN) $(DEVICES) -c -o $@ $<
endif
# What a run's build is traced back to; remade when it has changed.
$B/harness/build.h: FORCE
	@mkdir -p $(@D)
	@printf '#define MB_COMMIT "%s"\n#define MB_COMPILER "%s"\n#define MB_CFLAGS "%s"\n' \
	    "$$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)" \
	    "$$($(CC) --version | head -n 1)" '$(subst ",\",$(CFLAGS))' > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
FORCE:
$B/harness/facts.o $B/harness/main.o $B/bench/driver.o: $B/harness/build.h
-include $(patsubst %.o,%.d,$(call obj,$(ALL_C) $(KERNELS) $(EMULATED)))

# libFuzzer comes with clang alone. What a fuzzer has found is kept for the next time.
FUZZ_SECONDS ?= 60
fuzz: ## bytes of all kinds for whatever reads files of users (FUZZ_SECONDS=60 for each reader)
	@$(MAKE) -s CC=clang SAN=1 FUZZ=1 CUDA=0 fuzz-run
fuzz-run: $B/tests/fuzz/fuzz
	@sh tests/fuzz/run.sh $< $(FUZZ_SECONDS) build/fuzz
$B/tests/fuzz/fuzz: $(call obj,tests/fuzz/fuzz.c $(filter base/% workloads/%,$(SOURCES)))
	$(CC) $(OWN) -fsanitize=fuzzer $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# What is missing is installed as root or through sudo; else the one command is printed.
deps:      ; @sh harness/install.sh $(DEPS)
test-deps: ; @sh harness/install.sh $(TEST_DEPS)

demo: $B/motbench ## the whole story in a few minutes: data, four architectures, table, plot
	@sh harness/demo.sh $B/motbench
test: $B/tests/all $B/motbench ## every test (SAN=1: under the sanitizers)
	@sh tests/run.sh $B
bench: $B/bench/driver $B/bench/step $B/bench/synthetic $B/motbench ## steps side by side (BENCH_ARGS=--help)
	$B/bench/driver $(BENCH_ARGS)
bench-peers: bench-python $B/bench/driver $B/bench/step ## against PyTorch, which it installs for itself
	$B/bench/driver -s peers -p build/peers/bin/python $(BENCH_ARGS)
bench-python: ; @sh bench/peers.sh build/peers
# What a GPU is checked with, and carried to a machine that builds nothing and has another processor
# (unless ARCH says which): programs without debug information, and libraries that are neither the C
# library's nor CUDA's. Without pictures and sounds, whose libraries are half of all that would be carried.
GPU_CHECK := $(addprefix $B/,motbench tests/all bench/driver bench/step bench/synthetic bench/tokens)
BUNDLE    := build/gpu-bundle
gpu-check: $(GPU_CHECK) ## on a machine with a GPU: is everything right, and how fast? (minutes)
	@sh tests/gpu_check.sh $B
gpu-bundle: ## build/gpu-bundle, to carry there: sh tests/gpu_check.sh .
	@$(MAKE) MEDIA=0 $(if $(filter file,$(origin ARCH)),ARCH=x86-64-v3) bundle
bundle: $(GPU_CHECK) $(FAKES)
	@rm -rf $(BUNDLE); mkdir -p $(BUNDLE)/tests $(BUNDLE)/bench $(BUNDLE)/lib
	@for f in $(GPU_CHECK:$B/%=%); do strip -g -o $(BUNDLE)/$$f $B/$$f; done
	@cp -r tests/golden tests/*.json tests/gpu_check.sh $(BUNDLE)/tests/; cp bench/peer.py $(BUNDLE)/bench/
	@cp -r workloads $(BUNDLE)/; rm -f $(BUNDLE)/workloads/*.[ch]; $(if $(FAKES),cp -r $B/tests/fake $(BUNDLE)/tests/)
	@cp $$(ldd $(GPU_CHECK) | sed -n 's|.*=> \(/[^ ]*\) .*|\1|p' | sort -u | \
	    grep -Ev '/(libc|libm|libdl|librt|libpthread|libresolv|libgcc_s|libstdc\+\+|libcu[a-zA-Z]*|libnv[a-zA-Z]*)\.so') $(BUNDLE)/lib/
	@du -sm $(BUNDLE) | awk '{ print "$(BUNDLE): " $$1 " MiB"; exit $$1 >= 64 }'
golden: ## remake the golden values (needs PyTorch, see tests/golden/README.md)
	/usr/bin/python3 tests/golden/generate.py tests/golden

# The kernels compiled for all devices that are served, without having one: no file may draw a warning.
CHECKED := $(patsubst %,build/cuda-check/%.o,$(wildcard models/kernels/cuda/*.cu))
cuda-check: $(CHECKED)
$(CHECKED): build/cuda-check/%.o: %
	@mkdir -p $(@D)
	$(NVCC) $(NVOWN) -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
	    -gencode arch=compute_80,code=compute_80 -c -o $@ $<
-include $(CHECKED:.o=.d)
# The CPU's kernels compiled for processors that may not be here: the oldest, and one with pairs of bf16.
cpu-check:
	@mkdir -p build/cpu-check
	@for p in x86-64 cooperlake; do for f in models/kernels/cpu/*.c; do \
	    $(CC) $(OWN) $(CFLAGS) -march=$$p -Werror -c -o build/cpu-check/$$p-$${f##*/}.o $$f || exit 1; done; done
# With EMULATE=1: the kernels' own tests, and whole models, on the host; products in bf16 by pairs.
emulated: $B/tests/all ; $B/tests/all --filter '@(@(op|op_hand|cuda|graph|golden|cost)/*|memory/*device*)'
layers: ; @sh tests/layers.sh
sources: ; @echo $(SOURCES) # which are compiled
format: ; clang-format -i $(ALL_C) $(ALL_H)
format-check: | test-deps ; clang-format --dry-run -Werror $(ALL_C) $(ALL_H)
analyse: | test-deps
	cppcheck --quiet --enable=warning,performance --error-exitcode=1 --suppressions-list=tests/analyse.txt \
	    -I. $(SOURCES) harness/main.c $(BENCH_C)
config:
	@echo "compiler $(CC) ($(shell $(CC) -dumpfullversion -dumpversion))"; echo "CFLAGS $(CFLAGS)"
	@echo "build folder $B"; echo "libraries $(LDLIBS)"
	@for p in $(DEPS) $(TEST_DEPS); do \
	    printf '%-20s %s\n' $$p "$$(dpkg-query -W -f='$${Version}' $$p 2>/dev/null || echo missing)"; done
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
clean: ; rm -rf build
