/* steps.h: one step of a pass. */
#ifndef FS_STEPS_H
#define FS_STEPS_H

#include "pass.h"

/* The work of one member on the batch [begin, begin + n_rows): its part of the gradient and, if
 * `update`, of the updated parameters. When it returns, that is all done by all members. */
void fs_step(pass *p, fs_member m, ptrdiff_t begin, ptrdiff_t n_rows, int update);

#endif
