/* dispatch.c: knows which tables of kernels were built, and which of them this CPU can run. */
#include <string.h>

#include "kernels.h"

/* The build defines FS_HAVE_* for each ISA that it compiled kernels/ for. */
#ifdef FS_HAVE_BASELINE
extern const fs_kernels fs_kernels_baseline;
#endif
#ifdef FS_HAVE_NEON
extern const fs_kernels fs_kernels_neon;
#endif
#ifdef FS_HAVE_X86_64
extern const fs_kernels fs_kernels_x86_64_v2, fs_kernels_x86_64_v3, fs_kernels_x86_64_v4;

static int has_v2(void) {
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
}
/* __builtin_cpu_supports asks, too, whether the operating system saves the wider registers */
static int has_v3(void) {
    return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
static int has_v4(void) {
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#else
static int always(void) { return 1; }
#endif

/* slowest first */
static const struct {
    const fs_kernels *kernels;
    int (*supported)(void);
} built[] = {
#ifdef FS_HAVE_BASELINE
    {&fs_kernels_baseline, always},
#endif
#ifdef FS_HAVE_NEON
    {&fs_kernels_neon, always},
#endif
#ifdef FS_HAVE_X86_64
    {&fs_kernels_x86_64_v2, has_v2}, {&fs_kernels_x86_64_v3, has_v3},
    {&fs_kernels_x86_64_v4, has_v4},
#endif
};
enum { N_BUILT = sizeof built / sizeof built[0] };

int fs_n_built(void) { return N_BUILT; }

const fs_kernels *fs_built(int i) { return built[i].kernels; }

int fs_supported(int i) { return built[i].supported(); }

const char *fs_isa(const fs_kernels *kernels) { return kernels->isa; }
