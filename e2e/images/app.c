/* The sample program of the end-to-end images: a tiny HTTP server whose behaviour the image's arguments choose.
 *
 *   --exit N        ends with exit code N          --after MS      ... so many milliseconds after the start
 *   --signal 11     ends by a real SIGSEGV         --spread MS     ... and up to so many more, by chance
 *   --alloc         fills its memory               --never-ready   answers 503 on /ready
 *   --sleep         serves nothing                 --ready-path P  answers 404 on every path but P
 *   --slow MS       serves so long after the start --flaky ON OFF  answers 503 for OFF ms after every ON ms
 *   --write PATH    wants to write there           --connect IP:PORT   wants to reach it, or ends with exit code 1
 *   --term N        ends with exit code N on SIGTERM; 0 without; --deaf: does not hear it
 *   --raise N       ends by the signal N, which the first process of a process namespace cannot send to itself
 *   --chown PATH    wants to own it                --unshare       wants a user namespace; else exit code 1
 *   --tenths N      with --exit: ends with 0 unless the first number in the host's name ends in a digit below N
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int last = 0;

static void end(int number) { (void)number; _exit(last); }

/* The first process of a container cannot be ended by a signal that it sends itself; a real fault ends it. */
static void fault(void) { *(volatile int *)0 = 1; }

static void fill(void) {
  for (;;) {
    char *block = malloc(1 << 20);
    if (block) memset(block, 1, 1 << 20);
  }
}

static long milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits two seconds for an answer, as a program does that knows its dependency to be near. */
static int reaches(const char *place) {
  char host[64] = {0};
  const char *colon = strrchr(place, ':');
  if (!colon || (size_t)(colon - place) >= sizeof host) return 0;
  memcpy(host, place, colon - place);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) return 0;
  int out = socket(AF_INET, SOCK_STREAM, 0);
  struct timeval patience = {2, 0};
  setsockopt(out, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  int reached = connect(out, (struct sockaddr *)&address, sizeof address) == 0;
  /* A send timeout is told as a connection in progress. */
  if (!reached && errno == EINPROGRESS) errno = ETIMEDOUT;
  if (!reached) fprintf(stderr, "connect %s: %m\n", place);
  close(out);
  return reached;
}

/* Says what it could not do. */
static int fails(const char *what) { fprintf(stderr, "%s: %m\n", what); return 1; }

/* The last digit of the first number in the host's name, which is the pod's: of the runs nightly-0 to nightly-9 each has its own. */
static int digit(void) {
  char host[256] = {0};
  gethostname(host, sizeof host - 1);
  const char *number = strpbrk(host, "0123456789");
  return number ? (int)(strtol(number, NULL, 10) % 10) : 0;
}

int main(int count, char **argument) {
  int code = -1, tenths = 10, by = 0, ready = 1, hog = 0, serve = 1, own = 0, deaf = 0, apart = 0;
  long after = 0, spread = 0, slow = 0, on = 0, off = 0;
  const char *path = NULL, *file = NULL, *place = NULL, *owned = NULL;
  for (int at = 1; at < count; at++) {
    int more = count - at - 1;
    if (!strcmp(argument[at], "--exit") && more) code = atoi(argument[++at]);
    else if (!strcmp(argument[at], "--signal") && more) by = atoi(argument[++at]);
    else if (!strcmp(argument[at], "--after") && more) after = atol(argument[++at]);
    else if (!strcmp(argument[at], "--spread") && more) spread = atol(argument[++at]);
    else if (!strcmp(argument[at], "--slow") && more) slow = atol(argument[++at]);
    else if (!strcmp(argument[at], "--flaky") && more > 1) on = atol(argument[++at]), off = atol(argument[++at]);
    else if (!strcmp(argument[at], "--ready-path") && more) path = argument[++at];
    else if (!strcmp(argument[at], "--write") && more) file = argument[++at];
    else if (!strcmp(argument[at], "--connect") && more) place = argument[++at];
    else if (!strcmp(argument[at], "--term") && more) last = atoi(argument[++at]);
    else if (!strcmp(argument[at], "--tenths") && more) tenths = atoi(argument[++at]);
    else if (!strcmp(argument[at], "--never-ready")) ready = 0;
    else if (!strcmp(argument[at], "--alloc")) hog = 1;
    else if (!strcmp(argument[at], "--sleep")) serve = 0;
    else if (!strcmp(argument[at], "--raise") && more) own = atoi(argument[++at]);
    else if (!strcmp(argument[at], "--chown") && more) owned = argument[++at];
    else if (!strcmp(argument[at], "--unshare")) apart = 1;
    else if (!strcmp(argument[at], "--deaf")) deaf = 1;
  }
  if (own) { raise(own); return 1; }
  signal(SIGTERM, deaf ? SIG_IGN : end);
  signal(SIGINT, end);
  signal(SIGPIPE, SIG_IGN);
  srand(time(NULL) ^ (getpid() << 8) ^ milliseconds());
  if (spread) after += rand() % spread;
  if (file && open(file, O_WRONLY | O_CREAT, 0644) < 0) {
    fprintf(stderr, "open %s: %m\n", file);
    return 1;
  }
  if (owned && chown(owned, 1000, 1000)) return fails("chown");
  if (apart && unshare(CLONE_NEWUSER)) return fails("unshare");
  if (place && !reaches(place)) return 1;
  if (tenths <= digit()) code = 0;
  int ends = code >= 0 || by || hog;
  if (ends && after == 0) {
    if (hog) fill();
    if (by) fault();
    return code;
  }
  if (!serve) for (;;) pause();
  long start = milliseconds();
  if (slow) usleep(slow * 1000);
  int door = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct timeval patience = {0, 100000};
  setsockopt(door, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = INADDR_ANY};
  if (bind(door, (struct sockaddr *)&address, sizeof address) || listen(door, 16)) { perror("port 8080"); return 1; }
  for (;;) {
    int caller = accept(door, NULL, NULL);
    long passed = milliseconds() - start;
    if (ends && passed >= after) {
      if (hog) fill();
      if (by) fault();
      return code;
    }
    if (caller < 0) continue;
    char request[1024] = {0};
    if (read(caller, request, sizeof request - 1) < 0) { close(caller); continue; }
    int there = !path || (!strncmp(request + 4, path, strlen(path)) && request[4 + strlen(path)] == ' ');
    int well = ready && (!on || passed % (on + off) < on);
    dprintf(caller, "HTTP/1.0 %s\r\nContent-Length: 0\r\n\r\n",
            !there ? "404 Not Found" : well ? "200 OK" : "503 Service Unavailable");
    close(caller);
  }
}
