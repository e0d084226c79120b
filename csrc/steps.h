/* steps.h: the steps of a pass, as phases of items. */
#ifndef FS_STEPS_H
#define FS_STEPS_H

#include "pass.h"

/* Every step of a pass that has a gradient: for fs_work, whose context is the pass. */
void fs_do_step_item(void *context, fs_item item);
int fs_next_step_phase(void *context, int n_threads, int *n_items);

#endif
