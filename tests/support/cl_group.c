/* tests/support/cl_group.c - a CPU device and a folder for all tests of a program. */
#include "tests/support/cl_group.h"

#include "core/mem.h"
#include "tests/support/step_case.h"

#include <stdlib.h>
#include <string.h>

static struct device *device;
static char dir[64];

static bool make_dir(void)
{
    memcpy(dir, "/tmp/oxbow-cl-XXXXXX", sizeof "/tmp/oxbow-cl-XXXXXX");
    return mkdtemp(dir) != NULL;
}

int cl_group_open(void **state)
{
    (void)state;
    return make_dir() && (device = case_open("cpu", dir)) != NULL ? 0 : -1;
}

int cl_group_open_cached(void **state)
{
    (void)state;
    struct device_options o = {.kind = "cpu", .cache_dir = dir};
    return make_dir() && backend_opencl->device_open(&o, &device, NULL) == ERR_OK ? 0 : -1;
}

int cl_group_close(void **state)
{
    (void)state;
    backend_opencl->device_close(device);
    device = NULL;
    char *command = mem_printf("rm -rf %s", dir);
    int rc = system(command);
    mem_free(command);
    return rc;
}

struct device *cl_group_device(void)
{
    return device;
}
