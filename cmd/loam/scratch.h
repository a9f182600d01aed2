/* A directory for temporary files that is gone whatever happens. */
#ifndef SCRATCH_H
#define SCRATCH_H

/* Makes one; NULL after a message. One at a time. */
const char *scratch_make(void);

/* Removes it with everything in it. Does nothing if there is none. */
void scratch_remove(void);

#endif
