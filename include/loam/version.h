/* Loam's version: the one place where it is written, and from which the build reads it. */
#ifndef LOAM_VERSION_H
#define LOAM_VERSION_H

/* The version of these headers: MAJOR.MINOR.PATCH. Before 1.0 a new minor version may break programs. */
#define LOAM_VERSION_MAJOR 0
#define LOAM_VERSION_MINOR 1
#define LOAM_VERSION_PATCH 0

/* The version that a program was compiled against, as one number: 0xMMmmpp. loam_start and
 * loam_run hand it to the library, which refuses a program that it cannot serve. */
#define LOAM_VERSION ((LOAM_VERSION_MAJOR << 16) | (LOAM_VERSION_MINOR << 8) | LOAM_VERSION_PATCH)

#endif
