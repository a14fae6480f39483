/* tests/support/cl_group.h - a CPU device and a folder for all tests of a program.
 *
 * As the group's set-up and tear-down; one device, since opening one takes as long as many tests.
 */
#ifndef OXB_TESTS_SUPPORT_CL_GROUP_H
#define OXB_TESTS_SUPPORT_CL_GROUP_H

#include "pe/infer/backend.h"

int cl_group_open(void **state);
/* cl_group_open_cached - the device keeps what it compiles and tunes below the folder. */
int cl_group_open_cached(void **state);
int cl_group_close(void **state);
struct device *cl_group_device(void); /* between the two */

#endif
