/* The bench's load generator: what arrives, when, and whether it is whole.
 *
 *   client -p PORT -H HEADER [-n connections] [-R rounds] [-r per second] [-s seconds]
 *          [-b BODY_FILE | -P GET_PATH] [-c chunks] [-u] [-T give up after seconds]
 *
 * Closed loop (-n, -R): each connection sends that many requests, one after the other; -r is how
 * many connections start in a second (0: all at once). Open loop (-r, -s): requests are due at
 * fixed moments whatever becomes of the earlier ones, and latency counts from when they were due.
 * -c: answers are streams of so many chunks; -u: they must report usage, otherwise they must not.
 * A stream is broken if it ends early or differs from that. Prints one line of JSON;
 * microseconds throughout. Lateness is arrival less the moment that the upstream wrote in a chunk.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 20000
#define LINE_ROOM 2048

typedef enum { HEAD, SIZE, DATA, DATA_END, FIXED } Expecting;

typedef struct {
    int fd, rounds, busy, chunks, finished_stream, usage_seen, null_usage_seen, status;
    Expecting expecting;
    size_t left, line_length, sent;
    uint64_t due_us, first_us;
    char line[LINE_ROOM];
} Connection;

typedef struct {
    uint32_t *values;
    size_t length, room;
} Samples;

static struct {
    int port, connections, rounds, chunks, usage, give_up_s;
    double per_second, seconds;
    const char *header, *body_file, *path;
} wanted = {.connections = 1, .rounds = 1, .give_up_s = 60};

static Connection *all[MAX_CONNECTIONS], *idle[MAX_CONNECTIONS];
static int poller, used, idle_length, in_flight;
static char *request;
static size_t request_length;
static Samples latency, first_byte, lateness;
static uint64_t finished, broken, chunks, answer_bytes;
static char complaint[160];

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void keep(Samples *samples, uint64_t value) {
    if (samples->length == samples->room) {
        samples->room = samples->room ? samples->room * 2 : 1024;
        samples->values = realloc(samples->values, samples->room * sizeof *samples->values);
    }
    samples->values[samples->length++] = value > UINT32_MAX ? UINT32_MAX : value;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t quantile(Samples *samples, double q) {
    if (!samples->length) return 0;
    size_t at = samples->length * q;
    return samples->values[at < samples->length ? at : samples->length - 1];
}

static void print_samples(const char *name, Samples *samples) {
    qsort(samples->values, samples->length, sizeof *samples->values, by_value);
    printf(",\"%s\":{\"count\":%zu,\"p50\":%u,\"p99\":%u,\"max\":%u}", name, samples->length,
           quantile(samples, .5), quantile(samples, .99), quantile(samples, 1));
}

static void complain(Connection *c, const char *what) {
    broken++;
    if (!*complaint)
        snprintf(complaint, sizeof complaint, "%s (status %d, %d chunks)", what, c->status, c->chunks);
}

static void send_rest(Connection *c) {
    while (c->sent < request_length) {
        ssize_t n = write(c->fd, request + c->sent, request_length - c->sent);
        if (n <= 0) return; /* EAGAIN: EPOLLOUT will tell; anything else: the read will */
        c->sent += n;
    }
}

static void begin(Connection *c, uint64_t due) {
    c->busy = 1, in_flight++;
    c->due_us = due, c->first_us = 0, c->sent = 0, c->status = 0;
    c->chunks = c->finished_stream = c->usage_seen = c->null_usage_seen = 0;
    c->expecting = HEAD, c->line_length = 0;
    send_rest(c);
}

static Connection *connect_one(void) {
    if (used == MAX_CONNECTIONS) return NULL;
    Connection *c = all[used] = calloc(1, sizeof *c);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(wanted.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connect(c->fd, (struct sockaddr *)&at, sizeof at);
    struct epoll_event interest = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = used++};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &interest);
    return c;
}

static void drop(Connection *c) {
    close(c->fd);
    c->fd = -1;
}

static void finish(Connection *c, uint64_t now) {
    c->busy = 0, in_flight--, finished++;
    keep(&latency, now - c->due_us);
    if (c->status != 200)
        complain(c, "refused");
    else if (wanted.chunks && (c->chunks != wanted.chunks || !c->finished_stream))
        complain(c, "cut short");
    else if (wanted.chunks && (c->usage_seen != wanted.usage || c->null_usage_seen != wanted.usage))
        complain(c, wanted.usage ? "usage is missing" : "usage that was not asked for");
    if (wanted.seconds)
        idle[idle_length++] = c;
    else if (++c->rounds < wanted.rounds)
        begin(c, now);
    else
        drop(c);
}

static void lose(Connection *c) {
    if (c->busy) in_flight--, complain(c, "connection lost");
    c->busy = 0;
    for (int i = 0; i < idle_length; i++)
        if (idle[i] == c) idle[i] = idle[--idle_length];
    drop(c);
}

static void read_event(Connection *c, uint64_t now) {
    char *due;
    if (c->line_length < 6 || memcmp(c->line, "data: ", 6)) return;
    if (!c->first_us) keep(&first_byte, (c->first_us = now) - c->due_us);
    if (c->line[6] == '[') { c->finished_stream = 1; return; }
    char *usage = memmem(c->line, c->line_length, "\"usage\"", 7);
    if (usage && memmem(c->line, c->line_length, "\"choices\":[]", 12)) {
        c->usage_seen = 1;
        return;
    }
    if (usage) c->null_usage_seen = 1;
    c->chunks++, chunks++;
    if ((due = memmem(c->line, c->line_length, "\"due-", 5))) {
        uint64_t moment = strtoull(due + 5, NULL, 16);
        keep(&lateness, now > moment ? now - moment : 0);
    }
}

static void take_body(Connection *c, const char *bytes, size_t length, uint64_t now) {
    answer_bytes += length;
    if (!wanted.chunks) return;
    while (length) {
        const char *newline = memchr(bytes, '\n', length);
        size_t part = newline ? (size_t)(newline - bytes) : length;
        size_t room = LINE_ROOM - 1 - c->line_length, copied = part < room ? part : room;
        memcpy(c->line + c->line_length, bytes, copied);
        c->line[c->line_length += copied] = 0;
        if (!newline) return;
        read_event(c, now);
        c->line_length = 0;
        bytes += part + 1, length -= part + 1;
    }
}

static void read_head(Connection *c, uint64_t now) {
    char *field = strcasestr(c->line, "\ncontent-length:");
    if (strlen(c->line) > 12) c->status = atoi(c->line + 9);
    if (!wanted.chunks) keep(&first_byte, now - c->due_us);
    c->expecting = strcasestr(c->line, "\ntransfer-encoding:") ? SIZE : FIXED;
    c->left = field ? strtoul(field + 16, NULL, 10) : 0;
    c->line_length = 0;
}

/* Heads and chunk sizes are short: byte by byte. Returns bytes taken; `last`: answer complete. */
static size_t take(Connection *c, const char *bytes, size_t length, uint64_t now, int *last) {
    static char size_line[MAX_CONNECTIONS][8];
    size_t at = 0;
    switch (c->expecting) {
    case HEAD:
        while (at < length && c->line_length < LINE_ROOM - 1) {
            c->line[c->line_length++] = bytes[at++];
            if (c->line_length > 3 && !memcmp(c->line + c->line_length - 4, "\r\n\r\n", 4)) {
                c->line[c->line_length] = 0;
                read_head(c, now);
                *last = c->expecting == FIXED && !c->left;
                c->chunks = 0;
                return at;
            }
        }
        return at ? at : length;
    case SIZE: {
        char *text = size_line[c->fd];
        while (at < length && bytes[at] != '\n') {
            size_t n = strlen(text);
            if (bytes[at] != '\r' && n < 7) text[n] = bytes[at], text[n + 1] = 0;
            at++;
        }
        if (at == length) return at;
        c->left = strtoul(text, NULL, 16);
        *text = 0;
        c->expecting = c->left ? DATA : DATA_END;
        if (!c->left) c->left = SIZE_MAX; /* the empty line after the last chunk ends it */
        return at + 1;
    }
    case DATA_END:
        if (bytes[0] == '\n') *last = c->left == SIZE_MAX, c->expecting = SIZE;
        return 1;
    case DATA:
    case FIXED:
        at = length < c->left ? length : c->left;
        take_body(c, bytes, at, now);
        c->left -= at;
        if (!c->left && c->expecting == FIXED) *last = 1;
        if (!c->left && c->expecting == DATA) c->expecting = DATA_END;
    }
    return at;
}

static void receive(Connection *c) {
    static char bytes[1 << 16];
    for (;;) {
        ssize_t n = read(c->fd, bytes, sizeof bytes);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) return lose(c);
        uint64_t now = now_us();
        for (ssize_t at = 0; at < n && c->fd >= 0;) {
            int last = 0;
            at += take(c, bytes + at, n - at, now, &last);
            if (last) finish(c, now);
        }
        if (c->fd < 0) return;
    }
}

static void make_request(void) {
    char *body = calloc(1, 1 << 26), head[2048];
    size_t length = 0;
    if (wanted.body_file) {
        FILE *file = fopen(wanted.body_file, "rb");
        if (!file) perror(wanted.body_file), exit(2);
        length = fread(body, 1, 1 << 26, file);
        fclose(file);
    }
    int n = wanted.path
        ? snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: bench\r\n%s\r\n\r\n", wanted.path,
                   wanted.header)
        : snprintf(head, sizeof head, "POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\n"
                   "User-Agent: bench\r\nAccept: application/json\r\n%s\r\n"
                   "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                   wanted.header, length);
    request = realloc(body, length + n + 1);
    memmove(request + n, request, length);
    memcpy(request, head, n);
    request_length = n + length;
}

static void read_arguments(int count, char **arguments) {
    for (int option; (option = getopt(count, arguments, "p:H:n:R:r:s:b:P:c:uT:")) != -1;)
        switch (option) {
        case 'p': wanted.port = atoi(optarg); break;
        case 'H': wanted.header = optarg; break;
        case 'n': wanted.connections = atoi(optarg); break;
        case 'R': wanted.rounds = atoi(optarg); break;
        case 'r': wanted.per_second = atof(optarg); break;
        case 's': wanted.seconds = atof(optarg); break;
        case 'b': wanted.body_file = optarg; break;
        case 'P': wanted.path = optarg; break;
        case 'c': wanted.chunks = atoi(optarg); break;
        case 'u': wanted.usage = 1; break;
        case 'T': wanted.give_up_s = atoi(optarg); break;
        default: exit(2);
        }
    if (!wanted.port || !wanted.header) fprintf(stderr, "-p and -H are needed\n"), exit(2);
    if (wanted.seconds && wanted.per_second <= 0) fprintf(stderr, "-s needs -r\n"), exit(2);
}

/* Starts what is due by now; returns the moment of the next start, 0 if there is none. */
static uint64_t start_due(uint64_t start, uint64_t now) {
    static uint64_t started;
    uint64_t total = wanted.seconds ? wanted.seconds * wanted.per_second : wanted.connections;
    for (; started < total; started++) {
        uint64_t due = wanted.per_second > 0 ? start + started * 1e6 / wanted.per_second : start;
        if (due > now) return due;
        Connection *c = idle_length ? idle[--idle_length] : connect_one();
        if (c) begin(c, due);
        else broken++;
    }
    return 0;
}

static void report(double seconds) {
    printf("{\"finished\":%llu,\"broken\":%llu,\"unfinished\":%d,\"chunks\":%llu,\"bytes\":%llu,"
           "\"connections\":%d,\"seconds\":%.3f,\"complaint\":\"%s\"",
           (unsigned long long)finished, (unsigned long long)broken, in_flight,
           (unsigned long long)chunks, (unsigned long long)answer_bytes, used, seconds, complaint);
    print_samples("latency", &latency);
    print_samples("first_byte", &first_byte);
    print_samples("lateness", &lateness);
    printf("}\n");
}

int main(int count, char **arguments) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < MAX_CONNECTIONS ? files.rlim_max : MAX_CONNECTIONS;
    setrlimit(RLIMIT_NOFILE, &files);
    read_arguments(count, arguments);
    make_request();
    poller = epoll_create1(0);
    uint64_t start = now_us(), give_up = start + 1000000ull * wanted.give_up_s, now;
    while ((now = now_us()) < give_up) {
        struct epoll_event events[256];
        uint64_t next = start_due(start, now);
        if (!next && !in_flight) break;
        uint64_t wait_us = (next && next < give_up ? next : give_up) - now;
        struct timespec wait = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
        int n = epoll_pwait2(poller, events, 256, &wait, NULL);
        for (int i = 0; i < n; i++) {
            Connection *c = all[events[i].data.u32];
            if (c->fd >= 0 && c->busy && c->sent < request_length) send_rest(c);
            if (c->fd >= 0 && events[i].events & ~EPOLLOUT) receive(c);
        }
    }
    report((now_us() - start) / 1e6);
}
