/*
 * The backend behind the proxies: a plain TCP server that costs as little as can be.
 *
 *     plain PORT echo|discard|source
 *
 * One thread, one epoll. An idle connection owns no buffer: what the socket does not take at once is kept in
 * one that is freed as soon as it is empty, and nothing more is read until then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 65536

struct connection {
    int fd;
    char *rest;
    size_t start, end;
};

static enum { ECHO, DISCARD, SOURCE } mode;
static int epoll, listener;
static char chunk[CHUNK];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void watch(struct connection *c, int how, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, how, c ? c->fd : listener, &e) != 0) die("epoll_ctl");
}

static void drop(struct connection *c) {
    close(c->fd);
    free(c->rest);
    free(c);
}

static void accept_one(void) {
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct connection *c = calloc(1, sizeof *c);
    if (!c) die("calloc");
    c->fd = fd;
    watch(c, EPOLL_CTL_ADD, mode == SOURCE ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void keep(struct connection *c, const char *data, size_t length) {
    c->rest = malloc(length);
    if (!c->rest) die("malloc");
    memcpy(c->rest, data, length);
    c->start = 0;
    c->end = length;
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
}

static void flush_rest(struct connection *c) {
    ssize_t n = send(c->fd, c->rest + c->start, c->end - c->start, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN ? (void)0 : drop(c);
    c->start += n;
    if (c->start < c->end) return;
    free(c->rest);
    c->rest = NULL;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void answer(struct connection *c, size_t length) {
    ssize_t n = send(c->fd, chunk, length, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return drop(c);
    if (n < 0) n = 0;
    if ((size_t)n < length) keep(c, chunk + n, length - n);
}

static void receive(struct connection *c) {
    ssize_t n = recv(c->fd, chunk, CHUNK, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return drop(c);
    if (mode == ECHO) answer(c, n);
}

static void produce(struct connection *c) {
    if (send(c->fd, chunk, CHUNK, MSG_NOSIGNAL) < 0 && errno != EAGAIN) drop(c);
}

static void advance(struct connection *c, uint32_t events) {
    if (!c) return accept_one();
    if (c->rest) return flush_rest(c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) return receive(c);
    if (mode == SOURCE) produce(c);
}

static void listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) die("bind");
    if (listen(listener, 1024) != 0) die("listen");
}

static void allow_many_files(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    mode = strcmp(argv[2], "echo") == 0 ? ECHO : strcmp(argv[2], "discard") == 0 ? DISCARD : SOURCE;
    allow_many_files();
    listen_on(atoi(argv[1]));
    epoll = epoll_create1(0);
    watch(NULL, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) advance(events[i].data.ptr, events[i].events);
    }
}
