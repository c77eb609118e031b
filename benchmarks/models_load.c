/* A load generator for models_speed.py: so many kept connections, one request at a time on each.

   models_load PORT CONNECTIONS SECONDS < REQUEST
   The request is read from standard input, head and all; "@@@@@@" in it becomes a number that is
   another in each request. Prints: requests, events, not-200s, seconds, and microseconds of latency
   at the median, the 99th percentile and the maximum. Ends with 2 when a connection breaks. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1 << 20)
#define SAMPLES (1 << 23)

struct connection {
    int fd;
    size_t have;
    double sent;
    char *data;
};

static char request[1 << 16];
static size_t size;
static char *number;
static float *samples;
static long requests, events, bad;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void send_one(struct connection *c) {
    static unsigned counter;
    if (number) {
        char text[8];
        snprintf(text, sizeof text, "%06u", counter++ % 1000000);
        memcpy(number, text, 6);
    }
    c->have = 0;
    c->sent = now();
    if (write(c->fd, request, size) != (ssize_t)size) {
        perror("write");
        exit(2);
    }
}

static char *header(char *data, char *end, const char *name) {
    for (char *line = data; line && line < end; line = strstr(line, "\r\n")) {
        if (line != data)
            line += 2;
        if (strncasecmp(line, name, strlen(name)) == 0)
            return line + strlen(name);
        if (line == data)
            line += 1;
    }
    return NULL;
}

/* Whether a whole response is there; counts it and its events if it is. */
static int whole(struct connection *c) {
    c->data[c->have] = 0;
    char *end = strstr(c->data, "\r\n\r\n");
    if (!end)
        return 0;
    char *body = end + 4, *length = header(c->data, end, "content-length:");
    if (length) {
        if ((size_t)(body - c->data) + strtoul(length, NULL, 10) > c->have)
            return 0;
    } else {
        if (c->have < 5 || memcmp(c->data + c->have - 5, "0\r\n\r\n", 5) != 0)
            return 0;
        for (char *at = body; (at = strstr(at, "\n\n")); at += 2)
            events++;
    }
    if (strncmp(c->data + 9, "200", 3) != 0)
        bad++;
    return 1;
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 1;
    int port = atoi(argv[1]), many = atoi(argv[2]);
    double seconds = atof(argv[3]);
    size = fread(request, 1, sizeof request - 1, stdin);
    number = strstr(request, "@@@@@@");
    samples = malloc(SAMPLES * sizeof *samples);
    struct connection *all = calloc(many, sizeof *all);
    int poll = epoll_create1(0);
    for (int i = 0; i < many; i++) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        all[i].data = malloc(BUFFER + 1);
        if (connect(all[i].fd, (struct sockaddr *)&to, sizeof to) != 0) {
            perror("connect");
            return 2;
        }
        int on = 1;
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event);
    }
    double begun = now(), end = begun + seconds;
    for (int i = 0; i < many; i++)
        send_one(&all[i]);
    struct epoll_event ready[256];
    while (now() < end) {
        int count = epoll_wait(poll, ready, 256, 100);
        for (int i = 0; i < count; i++) {
            struct connection *c = ready[i].data.ptr;
            ssize_t got = read(c->fd, c->data + c->have, BUFFER - c->have);
            if (got <= 0) {
                fprintf(stderr, "connection broke: %s\n", got ? strerror(errno) : "closed");
                return 2;
            }
            c->have += got;
            if (whole(c)) {
                if (requests < SAMPLES)
                    samples[requests] = (now() - c->sent) * 1e6;
                requests++;
                send_one(c);
            }
        }
    }
    double took = now() - begun;
    long kept = requests < SAMPLES ? requests : SAMPLES;
    if (!kept)
        return 2;
    qsort(samples, kept, sizeof *samples, compare);
    printf("%ld %ld %ld %f %f %f %f\n", requests, events, bad, took, samples[kept / 2],
           samples[(long)(kept * 0.99)], samples[kept - 1]);
    return 0;
}
