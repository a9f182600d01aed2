/* A program with small stacks as it is linked: what it has for all its modules, and what must hold of it.
 *
 * A library that installs a signal handler, or jumps out of a callback, calls libc by names: those of this
 * table are defined by the program, each as a jump to a function of the runtime. The dynamic linker takes the
 * program's definition for every module's, as it does with malloc; the linker takes it for what an archive
 * asks for, with libc.a's own as well, where those are weak or alone in their members.
 *
 * So the program must export them, which a version script or --gc-sections could undo: that is looked at when
 * it is linked. Also that calls are bound at start: the dynamic linker's function that binds one at its first
 * call takes more than a small stack has.
 *
 * What stays out of sight: a library that takes libc's function by dlsym from libc's handle or by
 * dlmopen, and one that makes the system call itself. */
#include "split.h"

#include <elfutils/libdw.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name, *ours;
    bool
        here; /* the program's own calls go there on whatever stack they are on; others by a bridge */
} places[] = {
    {"sigaction", "__morestack_sigaction", false},
    {"signal", "__morestack_signal", false},
    {"bsd_signal", "__morestack_signal", false},
    {"ssignal", "__morestack_signal", false},
    {"sysv_signal", "__morestack_sysv_signal", false},
    {"__sysv_signal", "__morestack_sysv_signal", false},
    {"sigset", "__morestack_sigset", false},
    {"siginterrupt", "__morestack_siginterrupt", false},
    {"sigaltstack", "__morestack_sigaltstack", false},
    {"setjmp", "__morestack_setjmp_mask", true},
    {"_setjmp", "__morestack_setjmp", true},
    {"__sigsetjmp", "__morestack_sigsetjmp", true},
    {"__longjmp_chk", "longjmp", false}, /* takes a jump between segments for a mistake */
};

bool split_takes_place(const char *name)
{
    for (size_t i = 0; i < nelem(places); i++)
        if (strcmp(places[i].name, name) == 0)
            return true;
    return false;
}

const char *split_here(const char *name)
{
    for (size_t i = 0; i < nelem(places); i++)
        if (places[i].here && strcmp(places[i].name, name) == 0)
            return places[i].ours;
    return NULL;
}

void split_write_places(FILE *f)
{
    for (size_t i = 0; i < nelem(places); i++)
        fprintf(f,
                "\t.globl\t%s\n\t.type\t%s, @function\n\t.p2align 4\n%s:\n\t.cfi_startproc\n"
                "\tjmp\t*%s@GOTPCREL(%%rip)\n\t.cfi_endproc\n\t.size\t%s, .-%s\n",
                places[i].name, places[i].name, places[i].name, places[i].ours, places[i].name,
                places[i].name);
}

/* Of its dynamic section. */
struct dynamic {
    bool needs, bound_at_start;
};

static struct dynamic read_dynamic(Elf_Scn *scn, const GElf_Shdr *shdr)
{
    struct dynamic d = {0};
    Elf_Data *data = elf_getdata(scn, NULL);
    GElf_Dyn dyn;
    size_t n = shdr->sh_entsize > 0 ? shdr->sh_size / shdr->sh_entsize : 0;
    for (size_t i = 0; i < n && gelf_getdyn(data, (int)i, &dyn) != NULL; i++) {
        d.needs |= dyn.d_tag == DT_NEEDED;
        d.bound_at_start |= dyn.d_tag == DT_BIND_NOW ||
                            (dyn.d_tag == DT_FLAGS && (dyn.d_un.d_val & DF_BIND_NOW) != 0) ||
                            (dyn.d_tag == DT_FLAGS_1 && (dyn.d_un.d_val & DF_1_NOW) != 0);
    }
    return d;
}

static bool exports(Elf *elf, Elf_Scn *scn, const GElf_Shdr *shdr, const char *name)
{
    Elf_Data *data = elf_getdata(scn, NULL);
    GElf_Sym sym;
    size_t n = shdr->sh_entsize > 0 ? shdr->sh_size / shdr->sh_entsize : 0;
    for (size_t i = 1; i < n && gelf_getsym(data, (int)i, &sym) != NULL; i++) {
        const char *s = elf_strptr(elf, shdr->sh_link, sym.st_name);
        if (sym.st_shndx != SHN_UNDEF && s != NULL && strcmp(s, name) == 0)
            return true;
    }
    return false;
}

static bool complain(const char *what, const char *hint)
{
    message_error("--stack=small: %s", what);
    message_hint("%s", hint);
    message_hint("or build with --stack=slots, the default, where any code runs");
    return false;
}

static bool check_elf(Elf *elf)
{
    struct dynamic d = {0};
    Elf_Scn *symbols = NULL;
    GElf_Shdr shdr, symbols_shdr = {0};
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) != NULL;) {
        if (gelf_getshdr(scn, &shdr) == NULL)
            continue;
        if (shdr.sh_type == SHT_DYNAMIC)
            d = read_dynamic(scn, &shdr);
        if (shdr.sh_type == SHT_DYNSYM) {
            symbols = scn;
            symbols_shdr = shdr;
        }
    }
    if (!d.needs) /* static: there are no other modules */
        return true;
    if (!d.bound_at_start)
        return complain("the program binds calls when they are made first, which takes more stack "
                        "than there is",
                        "link with -z now, which Loam asks for: leave -z lazy out");
    for (size_t i = 0; i < nelem(places); i++)
        if (symbols == NULL || !exports(elf, symbols, &symbols_shdr, places[i].name))
            return complain(
                keep_format("the program does not export %s, so that libraries would use libc's",
                            places[i].name),
                "leave version scripts, --exclude-libs and the like out of the linking");
    return true;
}

bool split_check_program(const char *file)
{
    elf_version(EV_CURRENT);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    Elf *elf = fd >= 0 ? elf_begin(fd, ELF_C_READ, NULL) : NULL;
    bool ok = elf != NULL && elf_kind(elf) == ELF_K_ELF;
    if (!ok)
        message_error("cannot read %s", file);
    ok = ok && check_elf(elf);
    elf_end(elf);
    if (fd >= 0)
        close(fd);
    if (!ok)
        (void)unlink(file);
    return ok;
}
