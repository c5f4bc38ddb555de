/* SPDX-License-Identifier: MIT */
/* Descriptors 0, 1 and 2 of a program whose caller may have closed some (`program >&-`). */
#ifndef HEARTH_BASE_STANDARD_FDS_H
#define HEARTH_BASE_STANDARD_FDS_H

/* First thing in main(). A number that is free would be taken by the next file or socket, and what
 * is printed would go there: it is opened instead, so that using it fails as if it were closed. */
void standard_fds_hold(void);

#endif
