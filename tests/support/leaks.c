/* tests/support/leaks.c - what LeakSanitizer forgives: memory that the compiler within the OpenCL
 * runtime keeps for the life of the process.  It is C++; so what C allocates always counts, also
 * the runtime's buffers and kernels that we forget to release.  In unit tests, and in programs
 * built for AddressSanitizer: a worker's compiler (pe/infer/cl/compiler.h) exits with a status. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libLLVM\nleak:libclang-cpp\nleak:operator new\n";
}
