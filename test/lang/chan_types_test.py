#!/usr/bin/env python3
"""The typed interface of channels: right uses compile without a warning, a wrong type does not
compile, with gcc and clang, in C11 and GNU C17; in C++17 with g++ and clang++. Every snippet is the body
of a function."""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.environ.get("LOAM_SOURCE_ROOT",
                      os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
WARNINGS = ["-Wall", "-Wextra", "-Wundef", "-Wshadow", "-Wconversion", "-Wcast-qual", "-pedantic",
            "-Werror"]

BOTH = """
struct point { double x, y; };
struct other { double x, y; };
enum color { RED, GREEN };
enum fruit { APPLE, PEAR };
typedef loam_chan(struct point) points;
struct server { loam_chan(int) requests; loam_chan(const char *) names; points where; };
extern int n; extern long l; extern unsigned u; extern short h; extern char ch; extern double d;
extern float f; extern long long ll; extern bool yes; extern char *s; extern const char *cs;
extern void *vp; extern int *ip; extern struct point p; extern struct other o;
extern enum color color; extern struct server server;
extern loam_chan(int) make_ints(void);
extern void take_ints(loam_chan(int) c);
#define INTS loam_chan(int) c = loam_chan_make(int, 1)
"""
CXX = """
struct owner { int *p; owner(); owner(const owner &); ~owner(); };
template <class T> struct twice {
    static T of(T v) {
        loam_chan(T) c = loam_chan_make(T, 1);
        loam_send(c, v);
        (void)loam_select(loam_on_recv(c, &v), loam_on_send(c, &v));
        (void)loam_recv_ok(c, &v);
        return loam_recv(c);
    }
};
"""

# Right in C and in C++.
RIGHT = {
    "ints": """INTS; loam_send(c, 1); loam_send(c, n); int v = loam_recv(c); loam_send(c, v + n);
        loam_send(c, 'a'); loam_send(c, h); loam_send(c, ch);""",
    "receive": "INTS; int v; if (loam_recv_ok(c, &v)) n = v; (void)loam_recv_ok(c, NULL);",
    "try": "INTS; int v; yes = loam_try_send(c, 3); if (loam_try_recv(c, &v)) n = v;",
    "try_drop": "INTS; yes = loam_try_recv(c, NULL);",
    "close": "INTS; loam_close(c); n = (int)loam_len(c); n = (int)loam_cap(c); loam_chan_free(c);",
    "nil": "loam_chan(int) c = NULL; loam_send(c, 1); if (c == NULL) c = make_ints();",
    "range": "INTS; for (int x; loam_recv_ok(c, &x);) n += x;",
    "same_type": """INTS; loam_chan(int) b = c; b = make_ints(); take_ints(b); take_ints(c);
        server.requests = c; c = server.requests;""",
    "struct": """points c = loam_chan_make(struct point, 0); loam_send(c, p); p = loam_recv(c);
        d = loam_recv(c).x; server.where = c;""",
    "strings": """loam_chan(const char *) c = loam_chan_make(const char *, 1); loam_send(c, "text");
        loam_send(c, s); loam_send(c, cs); cs = loam_recv(c);""",
    "pointers": """loam_chan(struct point *) c = loam_chan_make(struct point *, 1); loam_send(c, &p);
        loam_send(c, NULL); p = *loam_recv(c);""",
    "void_pointer": """loam_chan(void *) c = loam_chan_make(void *, 1); loam_send(c, &p);
        loam_send(c, ip); vp = loam_recv(c);""",
    "longs": "loam_chan(long) c = loam_chan_make(long, 1); loam_send(c, n); loam_send(c, 7);",
    "sizes": "loam_chan(int64_t) c = loam_chan_make(int64_t, 1); loam_send(c, 7); loam_send(c, n);",
    "doubles": "loam_chan(double) c = loam_chan_make(double, 1); loam_send(c, 1.5); loam_send(c, f);",
    "chars": "loam_chan(char) c = loam_chan_make(char, 1); loam_send(c, 'x'); loam_send(c, ch);",
    "bytes": "loam_chan(uint8_t) c = loam_chan_make(uint8_t, 1); loam_send(c, 255);",
    "bools": "loam_chan(bool) c = loam_chan_make(bool, 1); loam_send(c, n > 3); loam_send(c, true);",
    "enums": "loam_chan(enum color) c = loam_chan_make(enum color, 1); loam_send(c, color);",
    "function_pointers": """typedef void (*work)(void *); loam_chan(work) c = loam_chan_make(work, 1);
        loam_send(c, (work)0); work w = loam_recv(c); w(NULL);""",
    "channel_of_channels": """typedef loam_chan(int) ints; loam_chan(ints) cc = loam_chan_make(ints, 1);
        INTS; loam_send(cc, c); c = loam_recv(cc); loam_send(loam_recv(cc), 5);""",
    "select": """INTS; points d2 = loam_chan_make(struct point, 0); int v = 0; bool ok;
        switch (loam_select(loam_on_recv(c, &v), loam_on_send(d2, &p), loam_on_recv_ok(c, &v, &ok),
                            loam_on_recv(d2, NULL))) {
        case 0: n = v; break;
        case 1: break;
        }""",
    "select_default": """INTS; int v; n = loam_select_default(loam_on_recv(c, &v));
        n = loam_select_default(loam_on_send(c, &v), loam_on_recv(c, NULL));""",
    "select_members": """int v; n = loam_select(loam_on_recv(server.requests, &v),
                                                loam_on_recv(make_ints(), &v));""",
    "select_array": """INTS; int v; struct loam_case k[2] = {loam_on_recv(c, &v), loam_on_send(c, &v)};
        n = loam_select_n(k, 2, 0);""",
    "unnamed_type": """loam_chan(void (*)(void)) c = loam_chan_make(void (*)(void), 1);
        loam_send(c, (void (*)(void))0); loam_recv(c)();""",
    "nested_channels": """typedef loam_chan(int) ints; loam_chan(ints) cc = loam_chan_make(ints, 1);
        n = loam_recv(loam_recv(cc)); yes = loam_try_send(loam_recv(cc), loam_recv(loam_recv(cc)));
        int v[3]; n = loam_select(loam_on_recv(loam_recv(cc),
            &v[loam_select_default(loam_on_recv(loam_recv(cc), &v[0]))]));""",
    "select_const": """INTS; static const int v = 1; n = loam_select(loam_on_send(c, &v));
        loam_chan(const char *) sc = loam_chan_make(const char *, 1); const char *const text = s;
        n = loam_select(loam_on_send(sc, &text));""",
    "nested": "INTS; loam_send(c, loam_recv(c)); loam_send(c, loam_recv(c) + loam_recv(c));",
    "raw": "INTS; struct loam_hchan *raw = loam_chan_raw(c); loam_chan_close(raw);",
    "timer": "loam_chan(int64_t) c = loam_timer_chan(loam_timer_new(5)); int64_t t = loam_recv(c);"
             "n = t > 0;",
}

# Right in C only: compound literals, and void * that converts.
RIGHT_C = {
    "compound": """points c = loam_chan_make(struct point, 0);
        loam_send(c, (struct point){1, 2}); loam_send(c, (struct point){.x = 3});""",
    "enumerator": "loam_chan(enum color) c = loam_chan_make(enum color, 1); loam_send(c, RED);",
    "select_compound": """points c = loam_chan_make(struct point, 0);
        n = loam_select(loam_on_send(c, &(struct point){1, 2}));""",
    "own_pointers": "long *lp = ip; n = lp != NULL;",
    "unprototyped": "loam_chan(long) c = loam_chan_make(long, 1); loam_send(c, sizeof(int) > 3);",
}

# The program's own pointers are its own affair; gcc 12 wants to be told so.
OWN_POINTERS = ["-Wno-incompatible-pointer-types", "-DLOAM_NO_POINTER_ERRORS"]

RIGHT_CXX = {
    "braces": "points c = loam_chan_make(struct point, 0); loam_send(c, point{1, 2});",
    "enumerator": "loam_chan(enum color) c = loam_chan_make(enum color, 1); loam_send(c, RED);",
    "nullptr": """INTS; n = loam_recv_ok(c, nullptr);
        loam_chan(char *) sc = loam_chan_make(char *, 1); loam_send(sc, nullptr);""",
    "auto": "auto c = loam_chan_make(int, 0); auto v = loam_recv(c); loam_send(c, v);",
    "template": "n = twice<int>::of(1); n = (int)twice<point>::of(p).x;",
    "lambda": """INTS; auto f2 = [c](int v) { loam_send(c, v); }; f2(3);""",
}

# Wrong: the text that the error must hold, so that it fails for the right reason.
# C++ has no text of ours for a value: there the language's conversion is the check.
ELEMENT = (r"this value is not of the channel|cannot convert|cannot initialize|invalid conversion|"
           r"no viable conversion|non-scalar type|could not convert|no matching function")
PLACE = r"this pointer is not to the channel|cannot convert|invalid conversion|no matching function"
ASSIGN = r"incompatible|invalid conversion|cannot convert|cannot initialize|assigning to"
STRUCTS = r"type mismatch in conditional|incompatible operand types|" + ELEMENT
NOT_A_CHANNEL = r"not a function|cannot be used as a function|no matching function"
WRONG = {
    "string_to_int": ("INTS; loam_send(c, s);", ELEMENT + "|mismatch"),
    "struct_to_int": ("INTS; loam_send(c, p);", STRUCTS),
    "int_to_struct": ("points c = loam_chan_make(struct point, 0); loam_send(c, n);", STRUCTS),
    "other_struct": ("points c = loam_chan_make(struct point, 0); loam_send(c, o);", STRUCTS),
    "try_struct": ("INTS; (void)loam_try_send(c, p);", STRUCTS),
    "int_to_string": ("loam_chan(char *) c = loam_chan_make(char *, 0); loam_send(c, n);",
                      ELEMENT + "|mismatch"),
    "drops_const": ("loam_chan(char *) c = loam_chan_make(char *, 0); loam_send(c, cs);", ELEMENT),
    "other_pointer": ("loam_chan(struct point *) c = loam_chan_make(struct point *, 0);"
                      "loam_send(c, &o);", ELEMENT + "|mismatch"),
    "receive_wider": ("INTS; long v; (void)loam_recv_ok(c, &v);", PLACE),
    "receive_narrower": ("INTS; short v; (void)loam_recv_ok(c, &v);", PLACE),
    "receive_other": ("points c = loam_chan_make(struct point, 0); (void)loam_recv_ok(c, &o);",
                      PLACE),
    "try_receive_other": ("INTS; double v; (void)loam_try_recv(c, &v);", PLACE),
    "receive_const": ("INTS; static const int v = 0; (void)loam_recv_ok(c, &v);", PLACE),
    "received_struct": ("points c = loam_chan_make(struct point, 0); n = loam_recv(c);",
                        ASSIGN),
    "received_pointer": ("loam_chan(char *) c = loam_chan_make(char *, 0); n = loam_recv(c).x;",
                         r"not a structure|not a struct|request for member|member reference"),
    "make_other": ("loam_chan(int) c = loam_chan_make(long, 0); (void)c;", ASSIGN),
    "assign_other": ("INTS; loam_chan(long) b = NULL; b = c; (void)b;", ASSIGN),
    "pass_other": ("take_ints(loam_chan_make(long, 0));", ASSIGN + "|no matching function"),
    "member_other": ("server.requests = loam_chan_make(char, 0);", ASSIGN),
    "select_recv": ("INTS; long v; n = loam_select(loam_on_recv(c, &v), loam_on_recv(c, NULL));",
                    PLACE),
    "select_send": ("INTS; short v = 1; n = loam_select(loam_on_send(c, &v));", PLACE),
    "select_recv_const": ("INTS; static const int v = 1; n = loam_select(loam_on_recv(c, &v));",
                          PLACE),
    "select_ok": ("INTS; int v; int ok; n = loam_select(loam_on_recv_ok(c, &v, &ok));",
                  PLACE + "|not to a bool"),
    "not_a_channel": ("loam_send(n, 1);", NOT_A_CHANNEL),
    "pointer_as_channel": ("loam_send(ip, 1);", NOT_A_CHANNEL),
    "receive_from_int": ("n = loam_recv(n);", NOT_A_CHANNEL),
    "close_int": ("loam_close(n);", NOT_A_CHANNEL),
    "channel_of_void": ("loam_chan(void) c = loam_chan_make(void, 0); loam_send(c, 1);",
                        r"void|incomplete"),
}
WRONG_CXX = {
    "make_not_trivial": ("auto c = loam_chan_make(owner, 0); (void)c;", "trivially copyable"),
    "send_not_trivial": ("loam_chan(owner) c = NULL; loam_send(c, owner());", "trivially copyable"),
    "receive_not_trivial": ("loam_chan(owner) c = NULL; (void)loam_recv(c);", "trivially copyable"),
    "receive_not_trivial_ok": ("loam_chan(owner) c = NULL; owner v; (void)loam_recv_ok(c, &v);",
                               "trivially copyable"),
    "select_not_trivial": ("loam_chan(owner) c = NULL; owner v; n = loam_select(loam_on_send(c, &v));",
                           "trivially copyable"),
}
# Values that C would narrow without a word.
WRONG_C = {
    "double_to_int": ("INTS; loam_send(c, d);", ELEMENT),
    "double_constant_to_int": ("INTS; loam_send(c, 2.5);", ELEMENT),
    "long_to_int": ("INTS; loam_send(c, l);", ELEMENT),
    "unsigned_to_int": ("INTS; loam_send(c, u);", ELEMENT),
    "int_to_short": ("loam_chan(short) c = loam_chan_make(short, 0); loam_send(c, n);", ELEMENT),
    "int_to_char": ("loam_chan(char) c = loam_chan_make(char, 0); loam_send(c, n);", ELEMENT),
    "double_to_float": ("loam_chan(float) c = loam_chan_make(float, 0); loam_send(c, d);", ELEMENT),
    "int_to_pointer": ("loam_chan(int *) c = loam_chan_make(int *, 0); loam_send(c, 5);",
                       ELEMENT + "|mismatch"),
    "pointer_to_long": ("loam_chan(long) c = loam_chan_make(long, 0); loam_send(c, ip);",
                        ELEMENT + "|mismatch"),
}


DEFAULT_STANDARDS = ("-std=gnu17", "-std=gnu++17")


def compilers():
    """[(program, language flags, is C++)] of those that are installed."""
    found = []
    for name in ("gcc", "clang", "g++", "clang++"):
        program = shutil.which(name) or shutil.which(name + "-14")
        cxx = name.endswith("++")
        for standard in ("c++17",) if cxx else ("gnu17", "c11"):
            if program:
                found.append((program, ["-x", "c++" if cxx else "c", "-std=" + standard], cxx))
    return found


def compile_one(job):
    """Compiles snippets, each a function of one file; a complaint or None."""
    directory, number, (program, language, cxx), name, bodies, error = job
    path = os.path.join(directory, "%d.c" % number)
    with open(path, "w") as f:
        f.write("#include <loam.h>\n%s\n" % (BOTH + (CXX if cxx else "")))
        for n, body in enumerate(bodies):
            f.write("void snippet%d(void);\nvoid snippet%d(void)\n{\n%s\n}\n" % (n, n, body))
    flags = ["-O1", *WARNINGS] if error is None else ["-fsyntax-only"]
    if name == "own_pointers":
        flags = flags + (OWN_POINTERS[:1] if "clang" in program else OWN_POINTERS)
    command = [program, *language, *flags, "-I", os.path.join(ROOT, "include"), "-c", path, "-o",
               os.devnull]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         errors="replace", env={**os.environ, "LC_ALL": "C"})
    if error is None:
        if run.returncode != 0:
            return "%s: %s should compile:\n%s" % (program, name, run.stdout)
    elif run.returncode == 0:
        return "%s: %s should not compile: %s" % (program, name, bodies[0])
    elif not re.search(error, run.stdout):
        return "%s: %s fails for another reason than /%s/:\n%s" % (program, name, error, run.stdout)
    return None


def main():
    jobs = []
    with tempfile.TemporaryDirectory() as directory:
        for compiler in compilers():
            cxx = compiler[2]
            right = {**RIGHT, **(RIGHT_CXX if cxx else RIGHT_C)}
            wrong = {**WRONG, **(WRONG_CXX if cxx else WRONG_C)}
            alone = right.pop("own_pointers", None)
            jobs.append((directory, len(jobs), compiler, "what is right", right.values(), None))
            if alone:
                jobs.append((directory, len(jobs), compiler, "own_pointers", [alone], None))
            if compiler[1][-1] in DEFAULT_STANDARDS: # the others say the same, and each takes a compiler
                for name, (body, error) in wrong.items():
                    jobs.append((directory, len(jobs), compiler, name, [body], error))
        if not jobs:
            print("no compiler", file=sys.stderr)
            return 77
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            complaints = [c for c in pool.map(compile_one, jobs) if c]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    print("%d compilations, %d complaints" % (len(jobs), len(complaints)))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
