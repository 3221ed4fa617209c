/* The sample program of the end-to-end images: a tiny HTTP server whose behaviour the image's arguments choose.
 *
 *   --exit N        ends with exit code N          --after MS   ... so many milliseconds after the start
 *   --signal 11     ends by a real SIGSEGV          --never-ready   answers 503 on /ready
 *   --alloc         fills its memory               --sleep         serves nothing
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void end(int number) { (void)number; _exit(0); }

/* The first process of a container cannot be ended by a signal that it sends itself; a real fault ends it. */
static void fault(void) { *(volatile int *)0 = 1; }

int main(int count, char **argument) {
  int code = -1, by = 0, ready = 1, fill = 0, serve = 1;
  long after = 0;
  for (int at = 1; at < count; at++) {
    if (!strcmp(argument[at], "--exit") && at + 1 < count) code = atoi(argument[++at]);
    else if (!strcmp(argument[at], "--signal") && at + 1 < count) by = atoi(argument[++at]);
    else if (!strcmp(argument[at], "--after") && at + 1 < count) after = atol(argument[++at]);
    else if (!strcmp(argument[at], "--never-ready")) ready = 0;
    else if (!strcmp(argument[at], "--alloc")) fill = 1;
    else if (!strcmp(argument[at], "--sleep")) serve = 0;
  }
  signal(SIGTERM, end);
  signal(SIGINT, end);
  signal(SIGPIPE, SIG_IGN);
  if (fill) {
    for (;;) {
      char *block = malloc(1 << 20);
      if (block) memset(block, 1, 1 << 20);
    }
  }
  if ((code >= 0 || by) && after == 0) {
    if (by) fault();
    return code;
  }
  if (!serve) for (;;) pause();
  int door = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct timeval patience = {0, 100000};
  setsockopt(door, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = INADDR_ANY};
  if (bind(door, (struct sockaddr *)&address, sizeof address) || listen(door, 16)) { perror("port 8080"); return 1; }
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (;;) {
    int caller = accept(door, NULL, NULL);
    clock_gettime(CLOCK_MONOTONIC, &now);
    long passed = (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
    if ((code >= 0 || by) && passed >= after) {
      if (by) fault();
      return code;
    }
    if (caller < 0) continue;
    char request[1024];
    if (read(caller, request, sizeof request) < 0) { close(caller); continue; }
    dprintf(caller, "HTTP/1.0 %s\r\nContent-Length: 0\r\n\r\n", ready ? "200 OK" : "503 Service Unavailable");
    close(caller);
  }
}
