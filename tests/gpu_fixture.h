/* Stand-ins for a GPU's libraries (tests/fake), for tests where there is none. */
#ifndef MB_TESTS_GPU_FIXTURE_H
#define MB_TESTS_GPU_FIXTURE_H

/* Loads those for the driver, NVML and CUPTI, which are then what these names mean in this process.
   Skips the test when they were not built. */
void test_load_gpu(void);

#endif
