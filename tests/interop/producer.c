/*
 * A numbered producer in C, after docs/PROTOCOL.md alone: producer RUN_DIR SCAN_ID PID, one event a line on stdin.
 *
 * Reads all events first, keeps each until it is acked, goes back when the worker asks or nothing comes, takes the
 * next ingest when one is silent, and says `bye` at the end. Prints {"committed":N,"nacks":[[number,"reason"],...]}
 * and ends with 0 once everything is acked.
 *
 * Build: cc -o producer producer.c -lzmq -lcjson
 */
#define _GNU_SOURCE
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum { HELLO_EVERY_MS = 1000, SILENT_AFTER_MS = 1500, NO_ACK_MS = 1000, MAX_EVENTS = 512, MAX_BYTES = 131072, MAX_INGESTS = 64, WINDOW = 2048, PAUSE_MS = 50 };

static const char *run_dir, *pid;
static char channel[128];
static long long inc;

static char **events; /* events[0] has number 1 */
static long long count, una = 1, next = 1;
static cJSON *nacks;

static void *context, *data, *control;
static int ingest = -1, welcome;
static long long heard_at, hello_at, ack_at, pause_until;

static void fail(const char *what) {
    fprintf(stderr, "error: %s: %s\n", what, zmq_strerror(zmq_errno()));
    exit(1);
}

static long long now_ms(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void read_events(void) {
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    while ((length = getline(&line, &size, stdin)) > 0) {
        if (line[length - 1] == '\n') line[length - 1] = 0;
        events = realloc(events, (count + 1) * sizeof *events);
        events[count++] = strdup(line);
    }
    free(line);
}

static void *connected(int type, const char *end, int linger_ms) {
    char address[256];
    void *socket = zmq_socket(context, type);
    snprintf(address, sizeof address, "ipc://%s/ingest-%d.%s", run_dir, ingest, end);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    if (zmq_connect(socket, address) != 0) fail(address);
    return socket;
}

/* Connect to the next ingest that has a socket in the directory; nothing is sent before its welcome. */
static void take_next(void) {
    if (data) zmq_close(data);
    if (control) zmq_close(control);
    data = control = NULL;
    for (int tried = 0; tried < MAX_INGESTS; tried++) {
        char path[256];
        ingest = (ingest + 1) % MAX_INGESTS;
        snprintf(path, sizeof path, "%s/ingest-%d.control", run_dir, ingest);
        if (access(path, F_OK) != 0) continue;
        data = connected(ZMQ_PUSH, "data", 1000);
        control = connected(ZMQ_DEALER, "control", 0);
        welcome = 0;
        heard_at = now_ms(CLOCK_MONOTONIC);
        hello_at = 0;
        return;
    }
}

/* Return whether an item [pid, inc, channel, number, ...] is about us, and its number. */
static int is_ours(const cJSON *item, long long *number) {
    const cJSON *its_pid = cJSON_GetArrayItem(item, 0), *its_inc = cJSON_GetArrayItem(item, 1);
    const cJSON *its_channel = cJSON_GetArrayItem(item, 2), *its_number = cJSON_GetArrayItem(item, 3);
    if (!cJSON_IsString(its_pid) || !cJSON_IsNumber(its_inc) || !cJSON_IsString(its_channel)) return 0;
    *number = (long long)cJSON_GetNumberValue(its_number);
    return strcmp(its_pid->valuestring, pid) == 0 && (long long)its_inc->valuedouble == inc &&
           strcmp(its_channel->valuestring, channel) == 0;
}

static void take(const char *text, size_t length) {
    const cJSON *item, *type;
    long long number;
    cJSON *message = cJSON_ParseWithLength(text, length);
    if (!message) return;
    heard_at = now_ms(CLOCK_MONOTONIC);
    type = cJSON_GetObjectItem(message, "type");
    if (cJSON_IsString(type) && strcmp(type->valuestring, "welcome") == 0 && !welcome) {
        welcome = 1;
        next = una; /* another ingest may have lost what was on its way */
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(message, "nacks")) if (is_ours(item, &number)) {
        cJSON *nack = cJSON_CreateArray();
        cJSON_AddItemToArray(nack, cJSON_CreateNumber((double)number));
        cJSON_AddItemToArray(nack, cJSON_Duplicate(cJSON_GetArrayItem(item, 4), 1));
        cJSON_AddItemToArray(nacks, nack);
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(message, "acks")) if (is_ours(item, &number) && number >= una) {
        una = number + 1;
        if (next < una) next = una;
        ack_at = heard_at;
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(message, "retries")) if (is_ours(item, &number) && number < next) {
        next = number < una ? una : number;
        pause_until = heard_at + PAUSE_MS;
    }
    cJSON_Delete(message);
}

/* Send one message, with the events from `next` on, or a sign; return 0 if there is no room at the moment. */
static int send_envelope(const char *sign) {
    static char message[MAX_BYTES + 1024];
    int size = snprintf(message, sizeof message, "\x01{\"channel\":\"%s\",\"pid\":\"%s\",\"inc\":%lld,\"pseq\":%lld,\"una\":%lld%s}\n",
                        channel, pid, inc, next, una, sign);
    long long last = next;
    if (!*sign) {
        for (; last <= count && last < next + MAX_EVENTS; last++) {
            size_t length = strlen(events[last - 1]);
            if (size + length + 1 > sizeof message) break;
            if (last > next) message[size++] = '\n';
            memcpy(message + size, events[last - 1], length);
            size += length;
        }
    }
    if (zmq_send(data, message, size, *sign ? 0 : ZMQ_DONTWAIT) < 0) return 0;
    next = last;
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: producer RUN_DIR SCAN_ID PID\n");
        return 2;
    }
    run_dir = argv[1];
    pid = argv[3];
    snprintf(channel, sizeof channel, "scan/%s", argv[2]);
    inc = now_ms(CLOCK_REALTIME);
    nacks = cJSON_CreateArray();
    context = zmq_ctx_new();
    read_events();
    while (una <= count) {
        long long now = now_ms(CLOCK_MONOTONIC);
        zmq_msg_t part;
        if (!control || now - heard_at > SILENT_AFTER_MS) take_next();
        if (!control) {
            usleep(50000);
            continue;
        }
        if (now - hello_at >= HELLO_EVERY_MS) {
            char hello[256];
            int size = snprintf(hello, sizeof hello, "{\"type\":\"hello\",\"pid\":\"%s\",\"inc\":%lld,\"version\":1}", pid, inc);
            zmq_send(control, hello, size, ZMQ_DONTWAIT);
            hello_at = now;
            if (!ack_at) ack_at = now;
        }
        if (welcome && now - ack_at > NO_ACK_MS) {
            next = una;
            ack_at = now;
        }
        while (welcome && now >= pause_until && next <= count && next < una + WINDOW && send_envelope("")) {}
        zmq_pollitem_t readable = {control, 0, ZMQ_POLLIN, 0};
        zmq_poll(&readable, 1, 50);
        zmq_msg_init(&part);
        while (zmq_msg_recv(&part, control, ZMQ_DONTWAIT) >= 0) take(zmq_msg_data(&part), zmq_msg_size(&part));
        zmq_msg_close(&part);
    }
    send_envelope(",\"sign\":\"bye\"");
    printf("{\"committed\":%lld,\"nacks\":%s}\n", una - 1, cJSON_PrintUnformatted(nacks));
    zmq_close(data);
    zmq_close(control);
    zmq_ctx_term(context);
    return 0;
}
