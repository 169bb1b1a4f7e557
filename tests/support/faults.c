/* Makes system calls fail on demand, preloaded into a process that tests a server (tests/support/faults.py).
 *
 * fault_arm("accept4", 3, 2, EMFILE, 0, 0) lets the third call from now on fail, and the one after it; fault_hits says
 * how many have. "malloc" is malloc, calloc and realloc of at least so many bytes; "epoll_ctl" is the watching of another
 * descriptor, "clock_gettime" what the native module asks. With `others`, calls of the thread that arms are passed on, as
 * everything else is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum { EPOLL_CTL, ACCEPT4, PTHREAD_CREATE, SEND, SENDMSG, SENDMMSG, MALLOC, EPOLL_WAIT, PPOLL, CLOCK, FAULTS };
static const char *const names[FAULTS] = {"epoll_ctl", "accept4", "pthread_create", "send", "sendmsg", "sendmmsg", "malloc",
                                          "epoll_wait", "ppoll", "clock_gettime"};
static struct { long before, times, hits; int code, others; size_t least; pthread_t by; } faults[FAULTS];

static int number(const char *name) {
  int i = 0;
  while (i < FAULTS && strcmp(name, names[i])) i++;
  return i;
}
int fault_arm(const char *name, long nth, long times, int code, size_t least, int others) {
  int i = number(name);
  if (i == FAULTS) return -1;
  __atomic_store_n(&faults[i].times, 0, __ATOMIC_SEQ_CST);
  faults[i].before = nth - 1, faults[i].code = code, faults[i].least = least, faults[i].hits = 0;
  faults[i].others = others, faults[i].by = pthread_self();
  __atomic_store_n(&faults[i].times, times, __ATOMIC_SEQ_CST);
  return 0;
}
long fault_hits(const char *name) { return __atomic_load_n(&faults[number(name)].hits, __ATOMIC_SEQ_CST); }

static int fails(int i) {
  if (__atomic_load_n(&faults[i].times, __ATOMIC_SEQ_CST) <= 0) return 0;
  if (faults[i].others && pthread_equal(faults[i].by, pthread_self())) return 0;
  if (__atomic_fetch_sub(&faults[i].before, 1, __ATOMIC_SEQ_CST) > 0) return 0;
  if (__atomic_fetch_sub(&faults[i].times, 1, __ATOMIC_SEQ_CST) <= 0) return 0;
  __atomic_fetch_add(&faults[i].hits, 1, __ATOMIC_SEQ_CST);
  errno = faults[i].code;
  return 1;
}
#define PASS_ON(name, ...) ({ static __typeof__(&name) next; if (!next) next = dlsym(RTLD_NEXT, #name); next(__VA_ARGS__); })

int epoll_ctl(int set, int what, int fd, struct epoll_event *event) {
  return what == EPOLL_CTL_ADD && fails(EPOLL_CTL) ? -1 : PASS_ON(epoll_ctl, set, what, fd, event);
}
int epoll_wait(int set, struct epoll_event *events, int most, int limit) {
  return fails(EPOLL_WAIT) ? -1 : PASS_ON(epoll_wait, set, events, most, limit);
}
int ppoll(struct pollfd *watched, nfds_t count, const struct timespec *limit, const sigset_t *mask) {
  return fails(PPOLL) ? -1 : PASS_ON(ppoll, watched, count, limit, mask);
}
static int is_native(void *caller) {
  Dl_info found;
  return dladdr(caller, &found) && found.dli_fname && strstr(found.dli_fname, "_native");
}
static int clock_fails(void *caller) {
  return __atomic_load_n(&faults[CLOCK].times, __ATOMIC_SEQ_CST) > 0 && is_native(caller) && fails(CLOCK);
}
int clock_gettime(clockid_t clock, struct timespec *time) {
  return clock_fails(__builtin_return_address(0)) ? -1 : PASS_ON(clock_gettime, clock, time);
}
#if __SIZEOF_POINTER__ == 4
/* What Rust's standard library asks where a long has 32 bits. */
struct time64;
int __clock_gettime64(clockid_t clock, struct time64 *time);
int __clock_gettime64(clockid_t clock, struct time64 *time) {
  return clock_fails(__builtin_return_address(0)) ? -1 : PASS_ON(__clock_gettime64, clock, time);
}
#endif
int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
  return fails(ACCEPT4) ? -1 : PASS_ON(accept4, fd, address, size, flags);
}
int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*begin)(void *), void *with) {
  return fails(PTHREAD_CREATE) ? EAGAIN : PASS_ON(pthread_create, thread, how, begin, with);
}
ssize_t send(int fd, const void *data, size_t size, int flags) {
  return fails(SEND) ? -1 : PASS_ON(send, fd, data, size, flags);
}
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  return fails(SENDMSG) ? -1 : PASS_ON(sendmsg, fd, message, flags);
}
int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
  return fails(SENDMMSG) ? -1 : PASS_ON(sendmmsg, fd, messages, count, flags);
}
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *malloc(size_t size) { return size >= faults[MALLOC].least && fails(MALLOC) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) {
  return count * size >= faults[MALLOC].least && fails(MALLOC) ? NULL : __libc_calloc(count, size);
}
void *realloc(void *old, size_t size) {
  return size >= faults[MALLOC].least && fails(MALLOC) ? NULL : __libc_realloc(old, size);
}
