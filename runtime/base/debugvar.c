/* Parsing of LOAMDEBUG=name=value,...: unknown names are ignored (GODEBUG is shared with Go
 * programs), a malformed value is reported on stderr and ignored. */
#include "base/debugvar.h"

#include "base/print.h"

#include <string.h>

struct debugvars debug;

enum kind { NUMBER, STRING };

static const struct {
    const char *name;
    enum kind kind;
    size_t offset;
    int64_t initial;
} table[] = {
#define DEBUGVAR(name, initial, text) {#name, NUMBER, offsetof(struct debugvars, name), initial},
#define DEBUGSTR(name, text) {#name, STRING, offsetof(struct debugvars, name), 0},
#include "base/debugvar.tbl"
#undef DEBUGVAR
#undef DEBUGSTR
};

void debugvar_reset(void)
{
    memset(&debug, 0, sizeof debug);
    for (size_t i = 0; i < nelem(table); i++)
        if (table[i].kind == NUMBER)
            memcpy((char *)&debug + table[i].offset, &table[i].initial, sizeof(int64_t));
}

static bool parse_number(const char *s, size_t len, int64_t *out)
{
    int64_t v = 0;
    bool negative = len > 0 && s[0] == '-';
    if (negative) {
        s++;
        len--;
    }
    if (len == 0 || len > 18)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        v = v * 10 + (s[i] - '0');
    }
    *out = negative ? -v : v;
    return true;
}

static void set(const char *item, size_t len, const char *variable)
{
    const char *eq = memchr(item, '=', len);
    size_t name_len = eq != NULL ? (size_t)(eq - item) : len;
    for (size_t i = 0; i < nelem(table); i++) {
        if (strlen(table[i].name) != name_len || memcmp(table[i].name, item, name_len) != 0)
            continue;
        void *place = (char *)&debug + table[i].offset;
        const char *value = eq != NULL ? eq + 1 : "";
        size_t value_len = eq != NULL ? len - name_len - 1 : 0;
        bool ok = false;
        if (table[i].kind == NUMBER) {
            int64_t v;
            ok = parse_number(value, value_len, &v);
            if (ok)
                memcpy(place, &v, sizeof v);
            if (ok && strcmp(table[i].name, "dst") == 0)
                debug.dst_on = true;
        } else if (value_len > 0 && value_len < sizeof debug.evtrace) {
            memcpy(place, value, value_len);
            ((char *)place)[value_len] = '\0';
            ok = true;
        }
        if (!ok) {
            PRINTER(p, 2);
            pr(&p, "loam: %s: the setting \"", variable);
            for (size_t c = 0; c < len && c < 100; c++)
                pr(&p, "%c", item[c]);
            pr(&p, "\" is malformed and ignored: %s=%s is the form\n", table[i].name,
               table[i].kind == NUMBER ? "NUMBER" : "TEXT");
            pr_flush(&p);
        }
        return;
    }
}

void debugvar_parse(const char *list, const char *variable)
{
    while (list != NULL && *list != '\0') {
        const char *end = strchrnul(list, ',');
        if (end > list)
            set(list, (size_t)(end - list), variable);
        list = *end == ',' ? end + 1 : end;
    }
}
