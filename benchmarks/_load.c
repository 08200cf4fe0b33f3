/* The load side of the benchmarks: very many WebSocket clients in one process, as cheap as can be.
 *
 *     _load PORT CLIENTS MAX_FRAMES REQUEST FIRST UNIT
 *
 * REQUEST is the file of the upgrade request, FIRST that of what each client sends once it is open (a subscription,
 * framed and masked; or empty). Each client answers pings, and notes when each data frame was there in whole; nothing
 * is decoded. If UNIT is not 0, so many bytes of payload count as a frame, however they are framed. It takes any 101 for an answer: what is measured is the server. Told by lines on stdin, answers with one:
 *
 *     connect     open CLIENTS DEFLATED       all are open; so many were answered permessage-deflate
 *     reset       reset                       counts begin anew
 *     count       count FRAMES BYTES CLOSED   what came since: data frames, bytes with their headers; clients closed
 *     write PATH  written                     CLIENTS times MAX_FRAMES native 64-bit words: when frame k of client i
 *                                             was there, CLOCK_MONOTONIC ns; 0 for never
 *
 * The end of stdin ends it. An error is one line on stderr and exit code 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { AT_ONCE = 64, ANSWER_BYTES = 2048, BUFFER_BYTES = 1 << 18, EVENTS = 1024 };

/* The load looks once a millisecond. Were it to sleep on its sockets, a server would pay for waking another core with
 * each frame, as much as for sending it, unless it is fast enough to find the load still awake: no client of the real
 * world costs that. Delays are later by as much as this. */
static const struct timespec LOOK_EVERY = {0, 1000000};
enum phase { UNUSED, CONNECTING, ASKED, OPEN, CLOSED };

struct client {
    int fd;
    enum phase phase;
    uint64_t left;           /* bytes of the frame's payload still to come */
    uint64_t units;          /* bytes of data that are no whole unit yet */
    uint32_t frames;         /* data frames since the last reset */
    unsigned char head[10];  /* the frame's header, as far as it is there */
    unsigned char head_bytes;
    unsigned char ping[125];
    unsigned char ping_bytes;
    char *answer; /* to the upgrade, as far as it is there; NULL once open */
    int answer_bytes;
};

static struct client *clients;
static uint64_t *arrivals;
static int count, max_frames, port, poller;
static uint64_t unit;
static int begun, open_now, deflated, closed;
static uint64_t frames_total, bytes_total;
static char *request, *first;
static size_t request_bytes, first_bytes;
static unsigned char buffer[BUFFER_BYTES];

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static char *content(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    char *text = malloc(65536);
    *bytes = fread(text, 1, 65536, file);
    fclose(file);
    return text;
}

static void begin_one(void) {
    struct client *client = &clients[begun];
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) fail("socket");
    /* Closed by a reset: ten thousand connections leave no TIME_WAIT behind that the next run would meet. */
    struct linger at_once = {1, 0};
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    int yes = 1;
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(client->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) fail("connect");
    client->phase = CONNECTING;
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = (uint32_t)begun};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event)) fail("epoll_ctl");
    begun++;
}

static void ask(struct client *client, uint32_t number) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        errno = error;
        fail("connect");
    }
    if (send(client->fd, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes) fail("send");
    client->answer = malloc(ANSWER_BYTES + 1);
    client->phase = ASKED;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event);
}

static void end(struct client *client) {
    if (client->phase != OPEN) {
        errno = ECONNRESET;
        fail("closed before it was open");
    }
    close(client->fd);
    client->phase = CLOSED;
    closed++;
    open_now--;
}

static void pong(struct client *client) {
    unsigned char frame[6 + 125] = {0x8a, (unsigned char)(0x80 | client->ping_bytes)}; /* the mask is zero */
    memcpy(frame + 6, client->ping, client->ping_bytes);
    ssize_t sent = send(client->fd, frame, 6u + client->ping_bytes, MSG_NOSIGNAL);
    (void)sent; /* a server that takes nothing finds out by its own clock */
}

static void arrived(struct client *client, uint64_t at) {
    if (client->frames < (uint32_t)max_frames)
        arrivals[(size_t)(client - clients) * (size_t)max_frames + client->frames] = at;
    client->frames++;
    frames_total++;
}

static void frame_over(struct client *client, uint64_t at) {
    int opcode = client->head[0] & 15;
    if (opcode == 9) pong(client);
    if (!unit && opcode < 8 && client->head[0] & 0x80) arrived(client, at);
    client->head_bytes = 0;
}

static void take(struct client *client, const unsigned char *bytes, size_t size, uint64_t at) {
    bytes_total += size;
    while (size) {
        unsigned char *head = client->head;
        size_t wanted = client->head_bytes < 2 ? 2 : head[1] == 126 ? 4 : head[1] == 127 ? 10 : 2;
        if (client->head_bytes < wanted) {
            head[client->head_bytes++] = *bytes++;
            size--;
            wanted = client->head_bytes < 2 ? 2 : head[1] == 126 ? 4 : head[1] == 127 ? 10 : 2;
            if (client->head_bytes < wanted) continue;
            client->left = head[1];
            if (wanted > 2) {
                client->left = 0;
                for (size_t i = 2; i < wanted; i++) client->left = client->left << 8 | head[i];
            }
            client->ping_bytes = 0;
            if (!client->left) frame_over(client, at);
            continue;
        }
        size_t part = client->left < size ? (size_t)client->left : size;
        if ((head[0] & 15) == 9 && client->ping_bytes + part <= sizeof client->ping) {
            memcpy(client->ping + client->ping_bytes, bytes, part);
            client->ping_bytes += (unsigned char)part;
        }
        if (unit && (head[0] & 15) < 8)
            for (client->units += part; client->units >= unit; client->units -= unit) arrived(client, at);
        client->left -= part;
        bytes += part;
        size -= part;
        if (!client->left) frame_over(client, at);
    }
}

static void opened(struct client *client, const unsigned char *bytes, size_t size) {
    size_t room = (size_t)(ANSWER_BYTES - client->answer_bytes);
    size_t part = size < room ? size : room;
    int before = client->answer_bytes;
    memcpy(client->answer + before, bytes, part);
    client->answer_bytes += (int)part;
    client->answer[client->answer_bytes] = 0;
    char *over = strstr(client->answer, "\r\n\r\n");
    if (!over) {
        if (part < size) {
            fprintf(stderr, "load: an endless answer\n");
            exit(1);
        }
        return;
    }
    if (strncmp(client->answer, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "load: refused: %.60s\n", client->answer);
        exit(1);
    }
    size_t used = (size_t)(over + 4 - client->answer) - (size_t)before;
    *over = 0;
    deflated += strcasestr(client->answer, "permessage-deflate") != NULL;
    free(client->answer);
    client->answer = NULL;
    client->phase = OPEN;
    open_now++;
    if (first_bytes && send(client->fd, first, first_bytes, MSG_NOSIGNAL) < 0) fail("send");
    if (begun < count) begin_one();
    else if (open_now == count) printf("open %d %d\n", open_now, deflated);
    take(client, bytes + used, size - used, now_ns());
}

static void hear(uint32_t number) {
    struct client *client = &clients[number];
    if (client->phase == CONNECTING) {
        ask(client, number);
        return;
    }
    ssize_t size = read(client->fd, buffer, sizeof buffer);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) end(client);
    else if (client->phase == ASKED) opened(client, buffer, (size_t)size);
    else take(client, buffer, (size_t)size, now_ns());
}

static void obey(char *line) {
    line[strcspn(line, "\n")] = 0;
    if (!strcmp(line, "connect")) {
        for (int i = 0; i < AT_ONCE && begun < count; i++) begin_one();
    } else if (!strcmp(line, "reset")) {
        memset(arrivals, 0, (size_t)count * (size_t)max_frames * sizeof *arrivals);
        for (int i = 0; i < count; i++) clients[i].frames = 0, clients[i].units = 0;
        frames_total = bytes_total = 0;
        puts("reset");
    } else if (!strcmp(line, "count")) {
        printf("count %llu %llu %d\n", (unsigned long long)frames_total, (unsigned long long)bytes_total, closed);
    } else if (!strncmp(line, "write ", 6)) {
        FILE *file = fopen(line + 6, "wb");
        if (!file) fail(line + 6);
        fwrite(arrivals, sizeof *arrivals, (size_t)count * (size_t)max_frames, file);
        fclose(file);
        puts("written");
    }
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: _load PORT CLIENTS MAX_FRAMES REQUEST FIRST UNIT\n");
        return 2;
    }
    port = atoi(argv[1]);
    count = atoi(argv[2]);
    max_frames = atoi(argv[3]);
    request = content(argv[4], &request_bytes);
    first = content(argv[5], &first_bytes);
    unit = strtoull(argv[6], NULL, 10);
    clients = calloc((size_t)count, sizeof *clients);
    arrivals = calloc((size_t)count * (size_t)max_frames, sizeof *arrivals);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || !arrivals || poller < 0) fail("start");
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct epoll_event told = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &told);
    struct epoll_event events[EVENTS];
    char line[4096];
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u32 != UINT32_MAX) {
                hear(events[i].data.u32);
                continue;
            }
            /* One line is awaited before the next is written, so a read is a line. */
            ssize_t size = read(0, line, sizeof line - 1);
            if (size <= 0) return 0;
            line[size] = 0;
            obey(line);
        }
        if (ready < EVENTS) nanosleep(&LOOK_EVERY, NULL);
    }
}
