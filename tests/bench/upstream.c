/* The bench's upstream: answers chat completions, streamed and not, and keeps its own count.
 *
 *   upstream PORT ANSWER_FILE
 *
 * Of the request body it reads `stream`, `stream_options.include_usage`, `max_tokens` (how many
 * chunks) and `seed` (milliseconds between two). Every chunk carries the moment it was due, in
 * `obfuscation`, so that a client on this machine can tell how late it came. Streams are
 * spread evenly over the gap, as unrelated users are. GET /counts tells what was billed.
 * One thread, one epoll, one precise timer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 65536
#define INPUT_TOKENS 27
#define CACHED_TOKENS 11
#define HEAD_SSE                                                                                  \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"                       \
    "x-request-id: req_bench\r\nopenai-processing-ms: 12\r\nTransfer-Encoding: chunked\r\n\r\n"

typedef struct {
    int fd, heap_at, sent, chunks, usage;
    uint64_t due_us, gap_us;
    char *in, *out;
    size_t in_length, in_room, out_length, out_done, out_room;
} Connection;

static Connection *connections[MAX_FD];
static Connection *heap[MAX_FD];
static int heap_length, poller, timer;
static uint64_t streams_started;
static char *answer;
static size_t answer_length;
static struct {
    uint64_t requests, streams, broken, input_tokens, cached_tokens, output_tokens;
} billed;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void heap_put(int at, Connection *c) { heap[at] = c, c->heap_at = at; }

static void heap_settle(int at) {
    Connection *c = heap[at];
    for (; at > 0 && heap[(at - 1) / 2]->due_us > c->due_us; at = (at - 1) / 2)
        heap_put(at, heap[(at - 1) / 2]);
    for (int child; (child = 2 * at + 1) < heap_length; at = child) {
        if (child + 1 < heap_length && heap[child + 1]->due_us < heap[child]->due_us) child++;
        if (heap[child]->due_us >= c->due_us) break;
        heap_put(at, heap[child]);
    }
    heap_put(at, c);
}

static void heap_add(Connection *c) {
    heap_put(heap_length++, c);
    heap_settle(c->heap_at);
}

static void heap_remove(Connection *c) {
    int at = c->heap_at;
    if (at < 0) return;
    c->heap_at = -1;
    if (at == --heap_length) return;
    heap_put(at, heap[heap_length]);
    heap_settle(at);
}

static void end(Connection *c) {
    if (c->heap_at >= 0) billed.broken++;
    heap_remove(c);
    connections[c->fd] = NULL;
    close(c->fd);
    free(c->in), free(c->out), free(c);
}

static void *grow(char *bytes, size_t *room, size_t needed) {
    if (needed <= *room) return bytes;
    while (*room < needed) *room = *room ? *room * 2 : 2048;
    return realloc(bytes, *room);
}

/* Returns -1 when the peer is gone. What does not fit the socket waits for EPOLLOUT. */
static int flush(Connection *c) {
    while (c->out_done < c->out_length) {
        ssize_t n = write(c->fd, c->out + c->out_done, c->out_length - c->out_done);
        if (n < 0 && errno == EAGAIN) {
            struct epoll_event wanted = {.events = EPOLLIN | EPOLLOUT, .data.fd = c->fd};
            return epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &wanted);
        }
        if (n < 0) return -1;
        c->out_done += n;
    }
    c->out_length = c->out_done = 0;
    return 0;
}

static void put(Connection *c, const char *bytes, size_t length) {
    c->out = grow(c->out, &c->out_room, c->out_length + length);
    memcpy(c->out + c->out_length, bytes, length);
    c->out_length += length;
}

static void put_event(Connection *c, const char *event, int length) {
    char size[16];
    put(c, size, snprintf(size, sizeof size, "%x\r\n", length));
    put(c, event, length);
    put(c, "\r\n", 2);
}

static void put_chunk(Connection *c) {
    char event[640];
    int last = c->sent + 1 == c->chunks;
    put_event(c, event, snprintf(event, sizeof event,
        "data: {\"id\":\"chatcmpl-CbenchBenchBenchBenchBenchBen\",\"object\":\"chat.completion.chunk\","
        "\"created\":1763700000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\","
        "\"system_fingerprint\":\"fp_bench\",\"choices\":[{\"index\":0,\"delta\":{%s},"
        "\"logprobs\":null,\"finish_reason\":%s}],%s\"obfuscation\":\"due-%016llx\"}\n\n",
        c->sent == 0 ? "\"role\":\"assistant\",\"content\":\"\"" : last ? "" : "\"content\":\" weighed\"",
        last ? "\"stop\"" : "null", c->usage ? "\"usage\":null," : "",
        (unsigned long long)c->due_us));
}

static void put_ending(Connection *c) {
    char event[640];
    if (c->usage)
        put_event(c, event, snprintf(event, sizeof event,
            "data: {\"id\":\"chatcmpl-CbenchBenchBenchBenchBenchBen\",\"object\":\"chat.completion.chunk\","
            "\"created\":1763700000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\","
            "\"system_fingerprint\":\"fp_bench\",\"choices\":[],\"usage\":{\"prompt_tokens\":%d,"
            "\"completion_tokens\":%d,\"total_tokens\":%d,\"prompt_tokens_details\":"
            "{\"cached_tokens\":%d,\"audio_tokens\":0},\"completion_tokens_details\":"
            "{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,"
            "\"rejected_prediction_tokens\":0}},\"obfuscation\":\"\"}\n\n",
            INPUT_TOKENS, c->chunks, INPUT_TOKENS + c->chunks, CACHED_TOKENS));
    put_event(c, "data: [DONE]\n\n", 14);
    put(c, "0\r\n\r\n", 5);
}

/* Sends what is due of one stream; returns -1 when the peer is gone. */
static int advance(Connection *c, uint64_t now) {
    while (c->sent < c->chunks && c->due_us <= now) {
        put_chunk(c);
        c->sent++;
        c->due_us += c->gap_us;
    }
    heap_remove(c);
    if (c->sent == c->chunks)
        put_ending(c);
    else
        heap_add(c);
    return flush(c);
}

static const char *after(const char *body, size_t length, const char *name) {
    const char *at = memmem(body, length, name, strlen(name));
    if (!at) return NULL;
    for (at += strlen(name); *at == ' ' || *at == ':';) at++;
    return at;
}

static int number(const char *body, size_t length, const char *name, int otherwise) {
    const char *at = after(body, length, name);
    return at ? atoi(at) : otherwise;
}

static int truth(const char *body, size_t length, const char *name) {
    const char *at = after(body, length, name);
    return at && *at == 't';
}

static int start_stream(Connection *c, const char *body, size_t length) {
    uint64_t now = now_us();
    c->chunks = number(body, length, "\"max_tokens\"", 101);
    c->gap_us = 1000ull * number(body, length, "\"seed\"", 20);
    c->usage = truth(body, length, "\"include_usage\"");
    c->sent = 1;
    billed.streams++;
    billed.output_tokens += c->chunks;
    put(c, HEAD_SSE, sizeof HEAD_SSE - 1);
    c->sent = 0, c->due_us = now;
    put_chunk(c);
    c->sent = 1;
    /* the golden ratio spreads any number of streams evenly over the gap */
    c->due_us = now + c->gap_us / 2 + ++streams_started * 40503ull % 65536 * c->gap_us / 65536;
    heap_add(c);
    return c->sent == c->chunks ? advance(c, now) : flush(c);
}

static int answer_counts(Connection *c) {
    char body[512], head[128];
    int n = snprintf(body, sizeof body,
        "{\"requests\":%llu,\"streams\":%llu,\"broken\":%llu,\"open\":%d,\"input_tokens\":%llu,"
        "\"cached_tokens\":%llu,\"output_tokens\":%llu}",
        (unsigned long long)billed.requests, (unsigned long long)billed.streams,
        (unsigned long long)billed.broken, heap_length, (unsigned long long)billed.input_tokens,
        (unsigned long long)billed.cached_tokens, (unsigned long long)billed.output_tokens);
    put(c, head, snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n));
    put(c, body, n);
    return flush(c);
}

static int handle(Connection *c, const char *body, size_t length) {
    char head[256];
    if (!strncmp(c->in, "GET ", 4)) return answer_counts(c);
    billed.requests++;
    billed.input_tokens += INPUT_TOKENS - CACHED_TOKENS;
    billed.cached_tokens += CACHED_TOKENS;
    if (truth(body, length, "\"stream\"")) return start_stream(c, body, length);
    billed.output_tokens += number(answer, answer_length, "\"completion_tokens\"", 0);
    put(c, head, snprintf(head, sizeof head,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
        answer_length));
    put(c, answer, answer_length);
    return flush(c);
}

/* The length of a chunked body from `at`, decoded in place; -1: more must come. */
static ssize_t dechunk(char *at, char *end_of_input, char **rest) {
    char *from = at, *to = at, *line;
    while ((line = memmem(from, end_of_input - from, "\r\n", 2))) {
        size_t size = strtoul(from, NULL, 16);
        if ((size_t)(end_of_input - line) < size + 4) return -1;
        from = line + 2;
        if (!size) return *rest = from + 2, to - at;
        memmove(to, from, size);
        to += size, from += size + 2;
    }
    return -1;
}

/* Serves one complete request of the input; 0: more must come, -1: give up. */
static int serve_one(Connection *c) {
    char *head_end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
    if (!head_end) return 0;
    char *body = head_end + 4, *rest;
    ssize_t length = 0;
    *head_end = 0;
    char *field = strcasestr(c->in, "\ncontent-length:");
    int chunked = strcasestr(c->in, "\ntransfer-encoding:") != NULL;
    if (field) length = strtol(field + 16, NULL, 10);
    *head_end = '\r';
    if (c->in_length - (body - c->in) < (size_t)length) return 0;
    rest = body + length;
    if (chunked) {
        /* decoded in a copy: an incomplete body must stay as it came */
        size_t held = c->in_length - (body - c->in);
        char *copy = malloc(held + 1), *copy_rest;
        memcpy(copy, body, held);
        length = dechunk(copy, copy + held, &copy_rest);
        if (length < 0) return free(copy), 0;
        memcpy(body, copy, length);
        rest = body + (copy_rest - copy);
        free(copy);
    }
    if (handle(c, body, length) < 0) return -1;
    c->in_length -= rest - c->in;
    memmove(c->in, rest, c->in_length);
    return 1;
}

static int receive(Connection *c) {
    for (;;) {
        size_t wanted = c->in_length > 1 << 16 ? c->in_length : 4096;
        c->in = grow(c->in, &c->in_room, c->in_length + wanted + 1);
        ssize_t n = read(c->fd, c->in + c->in_length, c->in_room - c->in_length - 1);
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0) return -1;
        c->in_length += n;
        c->in[c->in_length] = 0;
        if (c->in_length + 1 < c->in_room) break;
    }
    int served;
    while (c->in_length && (served = serve_one(c)))
        if (served < 0) return -1;
    return 0;
}

static void welcome(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *c = connections[fd] = calloc(1, sizeof *c);
        c->fd = fd, c->heap_at = -1;
        struct epoll_event wanted = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &wanted);
    }
}

static void serve_event(struct epoll_event *event) {
    Connection *c = connections[event->data.fd];
    if (!c) return;
    if (event->events & EPOLLOUT) {
        struct epoll_event wanted = {.events = EPOLLIN, .data.fd = c->fd};
        epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &wanted);
        if (flush(c) < 0) return end(c);
    }
    if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR) && receive(c) < 0) end(c);
}

static void arm_timer(int expired) {
    static uint64_t armed;
    uint64_t expirations;
    if (expired && read(timer, &expirations, sizeof expirations) > 0) armed = 0;
    uint64_t due = heap_length ? heap[0]->due_us : 0;
    if (due == armed) return;
    struct itimerspec at = {.it_value = {.tv_sec = due / 1000000, .tv_nsec = due % 1000000 * 1000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
    armed = due;
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 8192)) perror("listen"), exit(2);
    return fd;
}

static void read_answer(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) perror(path), exit(2);
    answer = calloc(1, 1 << 16);
    answer_length = fread(answer, 1, (1 << 16) - 1, file);
    fclose(file);
}

int main(int count, char **arguments) {
    if (count != 3) return fprintf(stderr, "usage: upstream PORT ANSWER_FILE\n"), 2;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    read_answer(arguments[2]);
    poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int listener = listen_on(atoi(arguments[1]));
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &wanted);
    wanted.data.fd = timer;
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &wanted);
    for (int expired = 0;;) {
        struct epoll_event events[256];
        arm_timer(expired);
        expired = 0;
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener) welcome(listener);
            else if (events[i].data.fd == timer) expired = 1;
            else serve_event(&events[i]);
        }
        uint64_t now = now_us();
        while (heap_length && heap[0]->due_us <= now)
            if (advance(heap[0], now) < 0) end(heap[0]);
    }
}
