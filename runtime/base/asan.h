/* LOAM_ASAN: whether this is a build with AddressSanitizer, and its interface if so. */
#ifndef BASE_ASAN_H
#define BASE_ASAN_H

#if defined(__SANITIZE_ADDRESS__)
#define LOAM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LOAM_ASAN 1
#endif
#endif
#ifndef LOAM_ASAN
#define LOAM_ASAN 0
#endif

#if LOAM_ASAN
#include <sanitizer/asan_interface.h>
#endif

#endif
