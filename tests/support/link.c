/* A network link with delay, jitter, loss, rate and a queue, where the kernel has no netem: two TUN devices, and packets
 * carried between them until it is ended (SIGTERM, SIGINT) or -t seconds (600) are over. `far_host.py` uses it.
 *
 *   ./link [-d MS] [-j MS] [-l PERCENT] [-r MBIT] [-q PACKETS] [-s SEED] [-t SECONDS] TUN_A TUN_B
 *
 * -d one-way delay; -j a uniform random addition, which reorders; -l loss each way; -r rate each way, 0 for none;
 * -q the packets that may wait for the rate (more are dropped). Says "ready" when the devices are there.
 *
 * While packets are on the way it looks for others every 0.1 ms: a wire does not wake a process for each packet, which
 * costs whoever sends it as much as half of a connect. So a packet may come up to 0.2 ms late. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

struct packet { int64_t due; uint64_t serial; int to; int size; char *data; };
static struct packet *heap; static int count, room;
static const struct timespec tick = {0, 100000};
static volatile sig_atomic_t over;
static void end(int s) { (void)s; over = 1; }
static int64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
static uint64_t state = 88172645463325252ULL;
static double uniform(void) { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return (state >> 11) * (1.0 / 9007199254740992.0); }
static int before(struct packet *a, struct packet *b) { return a->due != b->due ? a->due < b->due : a->serial < b->serial; }
static void push(struct packet p) {
  if (count == room) heap = realloc(heap, (room = room ? 2 * room : 1024) * sizeof *heap);
  int i = count++;
  for (; i && before(&p, &heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
  heap[i] = p;
}
static struct packet pop(void) {
  struct packet top = heap[0], last = heap[--count]; int i = 0;
  for (int c; (c = 2 * i + 1) < count; i = c) {
    if (c + 1 < count && before(&heap[c + 1], &heap[c])) c++;
    if (!before(&heap[c], &last)) break;
    heap[i] = heap[c];
  }
  heap[i] = last; return top;
}
static int tun(const char *name) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC); struct ifreq r = {0};
  if (fd < 0) { perror("/dev/net/tun"); exit(1); }
  r.ifr_flags = IFF_TUN | IFF_NO_PI; strncpy(r.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(fd, TUNSETIFF, &r)) { perror(name); exit(1); }
  return fd;
}
int main(int argc, char **argv) {
  double delay = 0, jitter = 0, loss = 0, rate = 0; int queue = 1000, seconds = 600, o;
  while ((o = getopt(argc, argv, "d:j:l:r:q:s:t:")) != -1) switch (o) {
    case 'd': delay = atof(optarg); break; case 'j': jitter = atof(optarg); break; case 'l': loss = atof(optarg) / 100; break;
    case 'r': rate = atof(optarg); break; case 'q': queue = atoi(optarg); break; case 't': seconds = atoi(optarg); break; case 's': state ^= strtoull(optarg, 0, 10) * 0x9E3779B97F4A7C15ULL; break;
    default: fprintf(stderr, "usage: link [-d MS] [-j MS] [-l PERCENT] [-r MBIT] [-q PACKETS] [-s SEED] [-t SECONDS] TUN_A TUN_B\n"); return 2; }
  if (argc - optind != 2) { fprintf(stderr, "link: two names of devices, please\n"); return 2; }
  signal(SIGTERM, end); signal(SIGINT, end); signal(SIGALRM, end); alarm(seconds);
  struct pollfd fds[2] = {{tun(argv[optind]), POLLIN, 0}, {tun(argv[optind + 1]), POLLIN, 0}};
  prctl(PR_SET_TIMERSLACK, 1000);
  printf("ready\n"); fflush(stdout);
  int64_t free_at[2] = {0, 0}; uint64_t serial = 0, carried = 0, lost = 0, full = 0; char buffer[65536];
  while (!over) {
    if (count) nanosleep(&tick, 0);
    int64_t t = now(); struct timespec wait = {1, 0}, *w = &wait;
    if (count) { int64_t left = heap[0].due - t; if (left < 0) left = 0; wait.tv_sec = left / 1000000000; wait.tv_nsec = left % 1000000000; }
    if (ppoll(fds, 2, w, 0) < 0 && errno != EINTR) { perror("poll"); return 1; }
    for (int from = 0; from < 2; from++) if (fds[from].revents & POLLIN) for (int k = 0; k < 256; k++) {
      int n = read(fds[from].fd, buffer, sizeof buffer);
      if (n <= 0) break;
      t = now();
      if (loss > 0 && uniform() < loss) { lost++; continue; }
      int64_t leaves = t;
      if (rate > 0) {
        int64_t takes = (int64_t)(n * 8000.0 / rate);
        if (free_at[from] < t) free_at[from] = t;
        if (free_at[from] - t > takes * queue) { full++; continue; }
        leaves = free_at[from] += takes;
      }
      struct packet p = {leaves + (int64_t)((delay + jitter * uniform()) * 1e6), serial++, 1 - from, n, memcpy(malloc(n), buffer, n)};
      push(p);
    }
    for (t = now(); count && heap[0].due <= t;) { struct packet p = pop(); if (write(fds[p.to].fd, p.data, p.size) == p.size) carried++; free(p.data); }
  }
  fprintf(stderr, "carried %llu, lost %llu, dropped from full queues %llu\n", (unsigned long long)carried, (unsigned long long)lost, (unsigned long long)full);
  return 0;
}
