/* Channels and select, typed: a value of a wrong type does not compile.
 *
 *     loam_chan(int) c = loam_chan_make(int, 10);
 *     loam_send(c, 42);
 *     int v = loam_recv(c);
 *     for (int x; loam_recv_ok(c, &x);) ...       // Go's `for x := range c`
 *
 * loam_chan(T) is a pointer type that carries T and nothing else: two of the same T are the same
 * type everywhere, without a declaration, and NULL is Go's nil channel. It is spelled as a pointer
 * to a function that returns T, which is never called: a struct type would have to be declared once
 * per T before its first use, and a pointer to T could be read by mistake.
 *
 * It passes through a void * like other pointers: loam_go(fn, c), then loam_chan(int) c = arg. With
 * -Wpedantic and in C++ that wants casts: reinterpret_cast<loam_chan(int)>(arg).
 *
 * A value may be sent when it converts to T without narrowing: the same type, an int on a channel
 * of long, a char * on one of const char *, an integer constant on any number. (C++ narrows numbers
 * as in any initialisation; other types do not convert there either.)
 *
 * What happened before a send happens before the end of its receive; the n-th receive of a channel of
 * capacity m happens before the end of the (n+m)-th send; a close happens before a receive that it
 * ends. All operations on channels have one order that everybody agrees on.
 *
 * A channel may be freed as soon as nobody uses it: by the receiver that got the last value, or that
 * found it closed, at once. */
#ifndef LOAM_CHAN_H
#define LOAM_CHAN_H

#include <loam/base.h>

LOAM_BEGIN_DECLS

/* A channel without its type: what lies behind every loam_chan(T). */
struct loam_hchan;

/* Makes a channel of size elements of elemsize bytes each; the work behind loam_chan_make.
 *
 * Stores it in *out. Errors: -EINVAL size is negative, or the buffer's bytes overflow; -ENOMEM no memory. */
LOAM_API int loam_chan_new(struct loam_hchan **out, size_t elemsize, int64_t size);

/* Makes a channel as loam_chan_new does, with Go's panic "makechan: size out of range" in place of
 * errors. */
LOAM_API struct loam_hchan *loam_chan_new_or_panic(size_t elemsize, int64_t size);

/* Frees a channel that no goroutine uses any more. NULL is allowed.
 *
 * Debug builds check that nobody waits on it. Elements in the buffer are dropped. */
LOAM_API void loam_chan_delete(struct loam_hchan *c);

/* Sends the element at elem: loam_send without the type. */
LOAM_API void loam_chan_send(struct loam_hchan *c, const void *elem);

/* Receives into elem (NULL: drops it): loam_recv without the type.
 *
 * True if a value was sent; false, and a zeroed element, if the channel is closed and empty. */
LOAM_API bool loam_chan_recv(struct loam_hchan *c, void *elem);

/* Sends if that needs no waiting: what loam_try_send does. 1 sent, -EAGAIN not. */
LOAM_API int loam_chan_try_send(struct loam_hchan *c, const void *elem);

/* Receives if that needs no waiting: what loam_try_recv does. 1 received, 0 closed and empty, -EAGAIN
 * neither. */
LOAM_API int loam_chan_try_recv(struct loam_hchan *c, void *elem);

/* Closes a channel: loam_close without the type. */
LOAM_API void loam_chan_close(struct loam_hchan *c);

/* How many elements wait in the buffer; 0 for NULL: loam_len without the type. */
LOAM_API int64_t loam_chan_len(const struct loam_hchan *c);

/* How many elements the buffer holds; 0 for NULL: loam_cap without the type. */
LOAM_API int64_t loam_chan_cap(const struct loam_hchan *c);

/* One case of a select: made by loam_on_send, loam_on_recv, loam_on_recv_ok. */
struct loam_case {
    struct loam_hchan *chan; /* NULL: this case is never ready */
    void *elem;              /* sent from, or received into (NULL: dropped) */
    bool *ok;                /* receive: set as the result of loam_recv_ok; may be NULL */
    int send;                /* 1: send, 0: receive */
};

/* Flags of loam_select_n. */
enum { LOAM_SELECT_DEFAULT = 1 /* do not wait: return -1 if no case is ready */ };

/* Waits until one of the n cases can go on, does it, returns its index.
 *
 * Among several that are ready the choice is uniformly random. Parks; with LOAM_SELECT_DEFAULT it
 * does not and returns -1 if none is ready, but may let others run whose turn it is. With no case and
 * no default it parks for ever. Misuse: above 65,536 cases a panic, as in Go's reflect.Select. */
LOAM_API int loam_select_n(const struct loam_case *cases, size_t n, int flags);

LOAM_END_DECLS

/* ---- The typed face ------------------------------------------------------------------------ */

/* The type of a channel of T: Go's `chan T`. T is any type that a function may return; an array
 * wants a struct around it. In C++ it must be trivially copyable, and one with a comma in its name
 * wants an alias. */
#define loam_chan(T) __typeof__(__typeof__(T)(*)(struct loam_hchan *))

/* The element type of a channel expression. */
#define LOAM_ELEM(c) __typeof__((c)((struct loam_hchan *)0))

#ifdef __cplusplus
#include <type_traits>

/* The element type as the language may not deduce it from a value: that one is converted to it. */
template <class T> struct loam_elem_ {
    static_assert(std::is_trivially_copyable<T>::value,
                  "loam: a channel copies the bytes of its elements, "
                  "so that their type must be trivially copyable");
    typedef T type;
};
template <class T> using loam_chan_ = T (*)(struct loam_hchan *);

template <class T> inline struct loam_hchan *loam_raw_(loam_chan_<T> c)
{
    return reinterpret_cast<struct loam_hchan *>(reinterpret_cast<uintptr_t>(c));
}
template <class T> inline loam_chan_<T> loam_make_(int64_t size)
{
    return reinterpret_cast<loam_chan_<T>>(reinterpret_cast<uintptr_t>(
        loam_chan_new_or_panic(sizeof(typename loam_elem_<T>::type), size)));
}
template <class R, class T>
inline R loam_send_(R (*how)(struct loam_hchan *, const void *), loam_chan_<T> c,
                    typename loam_elem_<T>::type value)
{
    return how(loam_raw_<T>(c), &value);
}
template <class T> inline T loam_recv_(loam_chan_<T> c)
{
    static_assert(std::is_default_constructible<typename loam_elem_<T>::type>::value,
                  "loam_recv needs a type that can be made without arguments; take loam_recv_ok");
    typename loam_elem_<T>::type value;
    (void)loam_chan_recv(loam_raw_<T>(c), &value);
    return value;
}
template <class R, class T>
inline R loam_recv_into_(R (*how)(struct loam_hchan *, void *), loam_chan_<T> c,
                         typename loam_elem_<T>::type *p)
{
    return how(loam_raw_<T>(c), p);
}
template <class T>
inline struct loam_case loam_on_send_(loam_chan_<T> c, const typename loam_elem_<T>::type *p)
{
    return {loam_raw_<T>(c), const_cast<typename loam_elem_<T>::type *>(p), NULL, 1};
}
template <class T>
inline struct loam_case loam_on_recv_(loam_chan_<T> c, typename loam_elem_<T>::type *p, bool *okp)
{
    return {loam_raw_<T>(c), p, okp, 0};
}
template <class... Case> inline int loam_select_(int flags, const Case &...cases)
{
    const struct loam_case all[] = {cases...};
    return loam_select_n(all, sizeof...(cases), flags);
}

#define LOAM_RAW_(c) loam_raw_(c)
#define LOAM_MAKE_(T, size) loam_make_<T>(size)
#define LOAM_SEND_(how, c, ...) loam_send_(how, c, __VA_ARGS__)
#define LOAM_RECV_(c) loam_recv_(c)
#define LOAM_RECV_INTO_(how, c, p) loam_recv_into_(how, c, p)
#define LOAM_ON_SEND_(c, ...) loam_on_send_(c, __VA_ARGS__)
#define LOAM_ON_RECV_(c, p, okp) loam_on_recv_(c, p, okp)
#define LOAM_SELECT_(flags, ...) loam_select_(flags, __VA_ARGS__)
#else
/* A channel of another type is a pointer of an incompatible type to the compiler. Newer ones make that
 * an error. For older ones it is done here: clang for pointers to functions alone, gcc, which has no
 * narrower word, for all of the program's. LOAM_NO_POINTER_ERRORS, defined before, leaves it a warning. */
#if defined(LOAM_NO_POINTER_ERRORS)
#elif defined(__clang__)
#if __clang_major__ < 16
#pragma GCC diagnostic error "-Wincompatible-function-pointer-types"
#endif
#elif __GNUC__ < 14
#pragma GCC diagnostic error "-Wincompatible-pointer-types"
#endif
#define LOAM_SAME_TYPE_(A, B) __builtin_types_compatible_p(A, B)
/* What kind of type: 5 a pointer, 8 and 9 floating point, and those below 5 integers. */
#define LOAM_KIND_(...) __builtin_classify_type(__VA_ARGS__)
/* 1 for integer constant expressions: these alone, cast and multiplied by 0, are null pointers. */
#define LOAM_CONSTANT_(v)                                                                          \
    _Generic((1 ? (void *)((long)__builtin_choose_expr(LOAM_KIND_(v) < 5, (v), 1) * 0) : (int *)0),\
        int *: LOAM_KIND_(v) < 5,                                                                  \
        default: 0)
/* The conditional's type is what C's conversions make of both: T only if nothing is narrowed. A
 * struct of another type does not even form one, which is a compile error too. */
#define LOAM_CHECK_VALUE_(T, ...)                                                                  \
    _Static_assert(LOAM_SAME_TYPE_(T, __typeof__((void)0, (__VA_ARGS__))) ||                       \
                       (LOAM_SAME_TYPE_(T, __typeof__(1 ? *(T *)0 : (__VA_ARGS__))) &&             \
                        (LOAM_KIND_(*(T *)0) != 5 || LOAM_KIND_(__VA_ARGS__) == 5)) ||             \
                       (LOAM_SAME_TYPE_(T, _Bool) && LOAM_KIND_(__VA_ARGS__) < 5) ||               \
                       (LOAM_KIND_(*(T *)0) < 5 && LOAM_CONSTANT_((__VA_ARGS__))),                 \
                   "loam: this value is not of the channel's element type")
#define LOAM_CHECK_POINTER_(T, what, ...)                                                          \
    _Static_assert(LOAM_SAME_TYPE_(T *, __typeof__(1 ? (T *)0 : (__VA_ARGS__))),                   \
                   "loam: this pointer is not to " what)
#define LOAM_ELEMENT_ "the channel's element type"
/* A checked pointer. It stays outside of the statement expression, whose end would be the end of a
 * compound literal's life. */
#define LOAM_POINTER_(T, what, ...)                                                                \
    ((void)sizeof(__extension__({                                                                  \
         LOAM_CHECK_POINTER_(T, what, __VA_ARGS__);                                                \
         0;                                                                                        \
     })),                                                                                          \
     (__VA_ARGS__))
/* The name of a local variable, another one in each use: one may be the argument of another. */
#define LOAM_LOCAL_ LOAM_LOCAL_N_(__COUNTER__)
#define LOAM_LOCAL_N_(n) LOAM_PASTE_(loam_local_, n)
#define LOAM_PASTE_(a, b) a##b

#define LOAM_RAW_(c) ((void)sizeof(LOAM_ELEM(c)), (struct loam_hchan *)(uintptr_t)(c))
#define LOAM_MAKE_(T, size) ((loam_chan(T))(uintptr_t)loam_chan_new_or_panic(sizeof(T), size))
#define LOAM_SEND_(how, c, ...) LOAM_SEND_FROM_(LOAM_LOCAL_, how, c, __VA_ARGS__)
#define LOAM_SEND_FROM_(value, how, c, ...)                                                        \
    __extension__({                                                                                \
        LOAM_CHECK_VALUE_(LOAM_ELEM(c), __VA_ARGS__);                                              \
        LOAM_ELEM(c) value = (__VA_ARGS__);                                                        \
        how(LOAM_RAW_(c), &value);                                                                 \
    })
#define LOAM_RECV_(c) LOAM_RECV_TO_(LOAM_LOCAL_, c)
#define LOAM_RECV_TO_(value, c)                                                                    \
    __extension__({                                                                                \
        LOAM_ELEM(c) value;                                                                        \
        (void)loam_chan_recv(LOAM_RAW_(c), &value);                                                \
        value;                                                                                     \
    })
#define LOAM_RECV_INTO_(how, c, p) how(LOAM_RAW_(c), LOAM_POINTER_(LOAM_ELEM(c), LOAM_ELEMENT_, p))
#define LOAM_CASE_(c, p, okp, snd)                                                                 \
    ((struct loam_case){LOAM_RAW_(c), (void *)(uintptr_t)(p), (okp), (snd)})
#define LOAM_ON_SEND_(c, ...)                                                                      \
    LOAM_CASE_(c, LOAM_POINTER_(const LOAM_ELEM(c), LOAM_ELEMENT_, __VA_ARGS__), NULL, 1)
#define LOAM_ON_RECV_(c, p, okp)                                                                   \
    LOAM_CASE_(c, LOAM_POINTER_(LOAM_ELEM(c), LOAM_ELEMENT_, p),                                   \
               LOAM_POINTER_(bool, "a bool", okp), 0)
#define LOAM_SELECT_(flags, ...) LOAM_SELECT_OF_(LOAM_LOCAL_, flags, __VA_ARGS__)
#define LOAM_SELECT_OF_(cases, flags, ...)                                                         \
    __extension__({                                                                                \
        const struct loam_case cases[] = {__VA_ARGS__};                                            \
        loam_select_n(cases, sizeof cases / sizeof cases[0], flags);                               \
    })
#endif

/* The channel behind a typed one, for the untyped functions.
 *
 *     struct loam_hchan *loam_chan_raw(loam_chan(T) c); */
#define loam_chan_raw(c) LOAM_RAW_(c)

/* Makes a channel of T that buffers size elements: Go's make(chan T, size).
 *
 *     loam_chan(T) loam_chan_make(T, int64_t size);
 *
 * The program owns it and ends it with loam_chan_free. Panics like Go's on a negative or
 * overflowing size; loam_chan_new returns an error instead. */
#define loam_chan_make(T, size) LOAM_MAKE_(T, size)

/* Frees a channel that no goroutine uses any more. NULL is allowed.
 *
 *     void loam_chan_free(loam_chan(T) c);
 *
 * Elements in the buffer are dropped. Closing it first is not needed. */
#define loam_chan_free(c) loam_chan_delete(loam_chan_raw(c))

/* Sends a value: Go's `c <- v`. Parks until a receiver takes it or the buffer has room.
 *
 *     void loam_send(loam_chan(T) c, T value);
 *
 * On NULL it parks for ever; on a closed channel it is Go's panic "send on closed channel". */
#define loam_send(c, ...) LOAM_SEND_(loam_chan_send, c, __VA_ARGS__)

/* Receives and yields a value: Go's `<-c`. Parks until there is one; zero if closed and empty.
 *
 *     T loam_recv(loam_chan(T) c);
 *
 * On NULL it parks for ever. */
#define loam_recv(c) LOAM_RECV_(c)

/* Receives into *p (p NULL: drops it): Go's `v, ok := <-c`; yields ok.
 *
 *     bool loam_recv_ok(loam_chan(T) c, T *p);
 *
 * Parks until there is a value, which it stores: true; or until the channel is closed and empty: false,
 * and *p is zero. */
#define loam_recv_ok(c, p) LOAM_RECV_INTO_(loam_chan_recv, c, p)

/* Sends if that needs no waiting: true if it did.
 *
 *     bool loam_try_send(loam_chan(T) c, T value);
 *
 * Never parks. From any thread. A goroutine that polls calls loam_yield between, or others starve. */
#define loam_try_send(c, ...) (LOAM_SEND_(loam_chan_try_send, c, __VA_ARGS__) > 0)

/* Receives into *p (p NULL: drops it) if a value is there: true if it did.
 *
 *     bool loam_try_recv(loam_chan(T) c, T *p);
 *
 * False: there is none yet; or there will be none, because the channel is closed and empty, and *p is
 * zero. loam_select_default(loam_on_recv_ok(c, p, &ok)) tells these apart, and so does the number that
 * loam_chan_try_recv returns. Never parks. From any thread. Who polls calls loam_yield between, as with
 * loam_try_send. */
#define loam_try_recv(c, p) (LOAM_RECV_INTO_(loam_chan_try_recv, c, p) > 0)

/* Closes a channel: Go's close(c). Receivers drain the buffer, then get zero values.
 *
 *     void loam_close(loam_chan(T) c);
 *
 * Panics like Go's on NULL and on a closed channel. From any thread. */
#define loam_close(c) loam_chan_close(loam_chan_raw(c))

/* How many elements wait in the buffer: Go's len(c). 0 for NULL.
 *
 *     int64_t loam_len(loam_chan(T) c); */
#define loam_len(c) loam_chan_len(loam_chan_raw(c))

/* How many elements the buffer holds: Go's cap(c). 0 for NULL.
 *
 *     int64_t loam_cap(loam_chan(T) c); */
#define loam_cap(c) loam_chan_cap(loam_chan_raw(c))

/* A select case that sends the element at p.
 *
 *     struct loam_case loam_on_send(loam_chan(T) c, const T *p); */
#define loam_on_send(c, ...) LOAM_ON_SEND_(c, __VA_ARGS__)

/* A select case that receives into *p (p NULL: drops it).
 *
 *     struct loam_case loam_on_recv(loam_chan(T) c, T *p); */
#define loam_on_recv(c, p) LOAM_ON_RECV_(c, p, NULL)

/* A select case that receives into *p and sets *okp: false if the channel is closed and empty.
 *
 *     struct loam_case loam_on_recv_ok(loam_chan(T) c, T *p, bool *okp); */
#define loam_on_recv_ok(c, p, okp) LOAM_ON_RECV_(c, p, okp)

/* Go's select: waits until one of the cases can go on, does it, yields its index.
 *
 *     int loam_select(struct loam_case case0, ...);
 *
 * Cases are made by loam_on_send, loam_on_recv and loam_on_recv_ok:
 *
 *     switch (loam_select(loam_on_recv(c, &v), loam_on_send(d, &x))) {
 *     case 0: ...
 *     case 1: ...
 *     }
 *
 * Among several that are ready the choice is uniformly random; a case on NULL never is. Parks. */
#define loam_select(...) LOAM_SELECT_(0, __VA_ARGS__)

/* Go's select with a default: does not wait, yields -1 if no case is ready.
 *
 *     int loam_select_default(struct loam_case case0, ...); */
#define loam_select_default(...) LOAM_SELECT_(LOAM_SELECT_DEFAULT, __VA_ARGS__)

#endif
