/* Finds headers and libraries by the place of the running tool, so that a build tree works without
 * installation and an installation may be moved.
 *
 * In a build tree the tool is BUILD/loam beside BUILD/libloam.a, the source tree is one of the
 * directories above. Variants are built in BUILD/VARIANT of the release build; the tool that is
 * found there links its own variant unless told otherwise. Installed it is PREFIX/bin/loam. LOAMROOT
 * names a source tree (with its build in build/) or a prefix instead. */
#include "root.h"

#include "tool.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool exists(const char *path)
{
    return access(path, R_OK) == 0;
}

static const char *join(const char *dir, const char *rest)
{
    return rest[0] == '/' ? rest : keep_format("%s/%s", dir, rest);
}

static char *dir_of(const char *path)
{
    return dirname(keep_format("%s", path)); /* writes into its argument */
}

/* Takes dir as the root if it holds the header and one of its usual places holds the library. */
static bool take_root(struct root *r, const char *dir)
{
    static const struct {
        const char *libdir;
        bool tree;
    } places[] = {{"build", true}, {LOAM_LIBDIR, false}, {"lib", false}, {"lib64", false}};

    if (!exists(join(dir, "include/loam.h")))
        return false;
    r->root = dir;
    r->include = join(dir, "include");
    for (size_t i = 0; i < nelem(places); i++) {
        const char *libdir = join(dir, places[i].libdir);
        if (exists(join(libdir, "libloam.a"))) {
            r->libdir = libdir;
            r->tree = places[i].tree;
            /* build/ is the release build, whatever this tool is. */
            r->variant = r->tree ? "release" : LOAM_VARIANT;
            return true;
        }
    }
    return false;
}

/* The source tree of a build directory: usually around it; one that was made elsewhere says where. */
static const char *source_of(const char *build)
{
    const char *dir = build;
    for (int up = 0; up < 3 && strcmp(dir, "/") != 0; up++) {
        dir = dir_of(dir);
        if (exists(join(dir, "include/loam.h")))
            return dir;
    }
    char line[PATH_MAX + 1];
    FILE *f = fopen(join(build, "cmd/loam/source-root"), "re");
    if (f == NULL)
        return NULL;
    bool ok = fgets(line, sizeof line, f) != NULL;
    fclose(f);
    if (!ok)
        return NULL;
    line[strcspn(line, "\n")] = '\0';
    return exists(join(line, "include/loam.h")) ? keep_format("%s", line) : NULL;
}

static bool take_build_tree(struct root *r, const char *build)
{
    if (!exists(join(build, "libloam.a")))
        return false;
    const char *source = source_of(build);
    if (source == NULL)
        return false;
    r->root = source;
    r->include = join(source, "include");
    r->libdir = build;
    r->variant = LOAM_VARIANT;
    r->tree = true;
    return true;
}

bool root_find(struct root *r)
{
    char self[PATH_MAX], *given = getenv("LOAMROOT");
    *r = (struct root){0};
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0)
        r->tool = keep_bytes(self, (size_t)n);

    if (given != NULL && given[0] != '\0') {
        const char *dir = realpath(given, self) != NULL ? keep_format("%s", self) : given;
        if (take_root(r, dir))
            return true;
        if (r->root == NULL) {
            message_error("LOAMROOT is %s, where there is no include/loam.h", given);
            message_hint("unset it, or set it to Loam's source tree or to its prefix");
        } else {
            message_error("LOAMROOT is %s, which has headers but no libloam.a", given);
            message_hint("looked in build, %s, lib and lib64; build it with `make` there",
                         LOAM_LIBDIR);
        }
        return false;
    }
    if (r->tool == NULL) {
        message_error("cannot tell where this tool is: /proc/self/exe cannot be read");
        message_hint("set LOAMROOT to Loam's source tree or to its prefix");
        return false;
    }
    const char *dir = dir_of(r->tool);
    if (take_build_tree(r, dir) || take_root(r, dir_of(dir)))
        return true;
    message_error("found neither headers nor library of Loam near %s", r->tool);
    message_hint("expected libloam.a beside it and include/loam.h above it (build tree),");
    message_hint("or ../include/loam.h and ../%s/libloam.a (installed);", LOAM_LIBDIR);
    message_hint("set LOAMROOT to Loam's source tree or to its prefix");
    return false;
}

const char *root_library(const struct root *r, const char *variant)
{
    const char *dir = r->libdir;
    if (strcmp(variant, r->variant) != 0) {
        const char *release = dir;
        /* BUILD/asan is a sibling of BUILD/tsan; the release build is above. */
        if (r->tree && strcmp(base_name(dir), r->variant) == 0)
            release = dir_of(dir);
        dir = strcmp(variant, "release") == 0 ? release : join(release, variant);
    }
    const char *library = join(dir, "libloam.a");
    if (exists(library))
        return library;
    message_error("there is no %s build of the library: %s is missing", variant, library);
    if (r->tree)
        message_hint("build it: make -C %s V=%s", r->root, variant);
    else
        message_hint("only Loam's source tree has it: set LOAMROOT to one in which "
                     "`make V=%s` was run",
                     variant);
    return NULL;
}
