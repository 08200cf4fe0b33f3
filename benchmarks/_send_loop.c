/* The limit of a fan-out: one frame, composed before, given to each socket by send(), and nothing else.
 *
 *     _send_loop FRAMES ANSWER
 *
 * FRAMES is a file of WebSocket frames, each behind its length (32 bits, big-endian); ANSWER that of the answer to an
 * upgrade request, whatever stands in that. Prints `ready PORT`. Told `publish COUNT INTERVAL_NS` on stdin, it sends
 * COUNT frames, one each INTERVAL_NS, to every client, and prints `sent` with the time before each, CLOCK_MONOTONIC
 * ns. The end of stdin ends it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 20000, MAX_FRAMES = 1024, EVENTS = 512 };

static int sockets[MAX_CLIENTS], count;
static unsigned char *frames[MAX_FRAMES];
static size_t sizes[MAX_FRAMES], frame_count;
static char answer[4096];
static size_t answer_bytes;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void read_files(const char *frames_path, const char *answer_path) {
    FILE *file = fopen(frames_path, "rb");
    if (!file) fail(frames_path);
    unsigned char head[4];
    while (frame_count < MAX_FRAMES && fread(head, 1, 4, file) == 4) {
        size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        frames[frame_count] = malloc(size);
        sizes[frame_count] = fread(frames[frame_count], 1, size, file);
        frame_count++;
    }
    fclose(file);
    file = fopen(answer_path, "rb");
    if (!file) fail(answer_path);
    answer_bytes = fread(answer, 1, sizeof answer, file);
    fclose(file);
}

static void publish(int times, uint64_t interval_ns) {
    uint64_t *sent = calloc((size_t)times, sizeof *sent);
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    uint64_t due = (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
    for (int k = 0; k < times; k++, due += interval_ns) {
        struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
        clock_gettime(CLOCK_MONOTONIC, &at);
        sent[k] = (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
        const unsigned char *frame = frames[(size_t)k % frame_count];
        size_t size = sizes[(size_t)k % frame_count];
        for (int i = 0; i < count; i++)
            if (send(sockets[i], frame, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size) fail("send");
    }
    printf("sent");
    for (int k = 0; k < times; k++) printf(" %llu", (unsigned long long)sent[k]);
    printf("\n");
    free(sent);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: _send_loop FRAMES ANSWER\n");
        return 2;
    }
    read_files(argv[1], argv[2]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in here = {.sin_family = AF_INET};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof here;
    if (bind(listening, (struct sockaddr *)&here, sizeof here) || listen(listening, 1024)) fail("listen");
    getsockname(listening, (struct sockaddr *)&here, &size);
    printf("ready %d\n", ntohs(here.sin_port));
    int poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listening};
    epoll_ctl(poller, EPOLL_CTL_ADD, listening, &event);
    event.data.fd = 0;
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            char heard[4096];
            if (fd == listening) {
                int client = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
                if (client < 0 || count == MAX_CLIENTS) fail("accept");
                int yes = 1;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                sockets[count++] = client;
                event.data.fd = client;
                epoll_ctl(poller, EPOLL_CTL_ADD, client, &event);
                continue;
            }
            ssize_t bytes = read(fd, heard, sizeof heard - 1);
            if (fd == 0) {
                if (bytes <= 0) return 0;
                heard[bytes] = 0;
                int times;
                unsigned long long interval_ns;
                if (sscanf(heard, "publish %d %llu", &times, &interval_ns) == 2) publish(times, interval_ns);
            } else if (bytes <= 0) {
                epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
            } else if (memmem(heard, (size_t)bytes, "\r\n\r\n", 4)) {
                if (send(fd, answer, answer_bytes, MSG_NOSIGNAL) != (ssize_t)answer_bytes) fail("send");
            }
        }
    }
}
