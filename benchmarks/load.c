/*
 * The load client: one thread, one epoll, OpenSSL on non-blocking sockets.
 *
 *     load MODE -p PORT [-c CONNECTIONS] [-s SIZE] [-w WARMUP] [-t SECONDS] [-C CERT -K KEY] [PID...]
 *
 * It is in C so that the server under test, and not the client, is what a run waits for. A run has three
 * parts: every connection is opened (at most OPENING handshakes at once), the load runs for WARMUP seconds
 * uncounted, then SECONDS are measured. The load never pauses between the parts, so what is in flight at the
 * first sample is balanced by what is in flight at the last one.
 *
 * The client reads the CPU clocks of the server's processes (the PIDs) itself, at the very moments at which
 * it starts and stops counting, and prints what it saw as one line of JSON.
 *
 * All servers get the same offer: TLS 1.3, X25519, TLS_AES_256_GCM_SHA384, TCP_NODELAY. What is echoed is
 * compared with what was sent; a wrong byte ends the run with an error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RECORD 16384          /* the largest TLS record: one write of ours is at most one record */
#define TURN 16               /* records that one connection may move before the others have their turn */
#define GULP (128 * 1024)     /* bytes that one recv may bring in bulk */
#define WINDOW (256 * 1024)   /* bulk echo: bytes sent but not yet echoed, so a naive server stays bounded */
#define OPENING 32            /* handshakes at once while opening: below every server's listen backlog */
#define PATTERN 65521         /* a prime: the payload's period never falls on a record or buffer boundary */
#define PATIENCE 60           /* seconds for opening all the connections */

enum mode { HANDSHAKE, RESUME, PINGPONG, UP, DOWN, ECHO, IDLE, MODES };
static const char *const mode_names[MODES] = {"handshake", "resume", "pingpong", "up", "down", "echo", "idle"};

enum state { SHAKING, OPEN, CLOSING };

struct connection {
    int fd;
    SSL *ssl;
    SSL_SESSION *session; /* the newest ticket of this slot, for RESUME */
    enum state state;
    uint32_t watched;
    double began; /* when the handshake or the message that is under way began */
    uint64_t sent, received;
};

struct totals {
    double wall, client_cpu, server_cpu;
    uint64_t operations, bytes, resumed, resets;
};

static struct {
    enum mode mode;
    int port, connections;
    size_t size;
    double warmup, seconds;
    const char *certificate, *key;
    clockid_t clocks[64];
    int pids[64], processes;
} options = {.connections = 1, .size = 64, .warmup = 0.2, .seconds = 1};

static SSL_CTX *context;
static int epoll;
static struct connection *connections;
static int begun, ready;
static struct totals now_total;
static unsigned char pattern[PATTERN + RECORD], scratch[RECORD];
static float *latencies;
static size_t latency_count, latency_room;

static void die(const char *what) {
    fprintf(stderr, "load: %s (errno: %s)\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* ---- clocks and counts ---- */

static double clock_seconds(clockid_t id) {
    struct timespec t;
    if (clock_gettime(id, &t) != 0) die("a server process has died");
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double now(void) { return clock_seconds(CLOCK_MONOTONIC); }

static struct totals sample(void) {
    struct totals t = now_total;
    t.wall = now();
    t.client_cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
    t.server_cpu = 0;
    for (int i = 0; i < options.processes; i++) t.server_cpu += clock_seconds(options.clocks[i]);
    return t;
}

static void record(double began) {
    now_total.operations++;
    if (latency_count == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 65536;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
        if (!latencies) die("out of memory");
    }
    latencies[latency_count++] = (now() - began) * 1e6;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double p) { return latency_count ? latencies[(size_t)(p * (latency_count - 1))] : 0; }

static long pss_of(int pid) {
    char path[64], line[256];
    long kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *file = fopen(path, "r");
    if (!file) die("cannot read a server's smaps_rollup");
    while (fgets(line, sizeof line, file) && sscanf(line, "Pss: %ld", &kilobytes) != 1) continue;
    fclose(file);
    return kilobytes * 1024;
}

static long server_pss(void) {
    long bytes = 0;
    for (int i = 0; i < options.processes; i++) bytes += pss_of(options.pids[i]);
    return bytes;
}

/* ---- one connection ---- */

static void watch(struct connection *c, uint32_t events) {
    if (c->watched == events) return;
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e) != 0) die("epoll_ctl");
    c->watched = events;
}

/* True when OpenSSL only waits for the socket; every other failure ends the run, but for the ends of a stream. */
static int would_block(struct connection *c, int result, uint32_t also) {
    switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ: watch(c, EPOLLIN | also); return 1;
    case SSL_ERROR_WANT_WRITE: watch(c, EPOLLOUT | also); return 1;
    default: return 0;
    }
}

static void open_connection(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->began = now();
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) die("connect");
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_app_data(c->ssl, c);
    SSL_set_connect_state(c->ssl);
    SSL_set_tlsext_host_name(c->ssl, "localhost");
    if (c->session && !SSL_set_session(c->ssl, c->session)) die("SSL_set_session");
    c->state = SHAKING;
    c->watched = EPOLLOUT;
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e) != 0) die("epoll_ctl");
}

static void reopen(struct connection *c) {
    /* OpenSSL 3.0 forgets that we said goodbye if the server did not, and would spoil the ticket. */
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    close(c->fd);
    open_connection(c);
}

static int keep_ticket(SSL *ssl, SSL_SESSION *session) {
    struct connection *c = SSL_get_app_data(ssl);
    SSL_SESSION_free(c->session);
    c->session = session;
    return 1; /* the session is ours now */
}

/* A ping is cut from the pattern at a place that depends on what was sent so far: no two in a row are alike. */
static const unsigned char *payload(uint64_t position) { return pattern + position % PATTERN; }

static void ping(struct connection *c) {
    c->began = now();
    c->received = 0;
    if (SSL_write(c->ssl, payload(c->sent), options.size) != (int)options.size) die("a message was not taken whole");
    watch(c, EPOLLIN);
}

static void pong(struct connection *c) {
    int n = SSL_read(c->ssl, scratch, options.size - c->received);
    if (n <= 0) {
        if (!would_block(c, n, 0)) die("the server ended a connection");
        return;
    }
    if (memcmp(scratch, payload(c->sent) + c->received, n) != 0) die("the echo differs from what was sent");
    c->received += n;
    if (c->received < options.size) return pong(c);
    c->sent += options.size;
    now_total.bytes += options.size;
    record(c->began);
    ping(c);
}

static void upload(struct connection *c) {
    for (int i = 0; i < TURN; i++) {
        int n = SSL_write(c->ssl, payload(c->sent), RECORD);
        if (n <= 0) {
            if (!would_block(c, n, 0)) die("the server ended a connection");
            return;
        }
        c->sent += n;
        now_total.bytes += n;
    }
    watch(c, EPOLLOUT);
}

/* May stop with records read ahead: a server that never stops sending raises another event. */
static void download(struct connection *c) {
    for (int i = 0; i < TURN; i++) {
        int n = SSL_read(c->ssl, scratch, RECORD);
        if (n <= 0) {
            if (!would_block(c, n, 0)) die("the server ended a connection");
            return;
        }
        now_total.bytes += n;
    }
}

/* Returns false once the socket has nothing more. */
static int read_echo(struct connection *c) {
    int n = SSL_read(c->ssl, scratch, RECORD);
    if (n <= 0) {
        if (!would_block(c, n, 0)) die("the server ended a connection");
        return 0;
    }
    size_t from = c->received % PATTERN, head = PATTERN - from < (size_t)n ? PATTERN - from : (size_t)n;
    if (memcmp(scratch, pattern + from, head) || memcmp(scratch + head, pattern, n - head))
        die("the echo differs from what was sent");
    c->received += n;
    now_total.bytes += n;
    return 1;
}

static void echo(struct connection *c) {
    while (read_echo(c)) continue; /* at most a window; what OpenSSL has read ahead would raise no event */
    while (c->sent - c->received + RECORD <= WINDOW) {
        int n = SSL_write(c->ssl, payload(c->sent), RECORD);
        if (n <= 0) {
            if (!would_block(c, n, EPOLLIN)) die("the server ended a connection");
            return;
        }
        c->sent += n;
    }
    watch(c, EPOLLIN);
}

/* An idle connection takes its tickets and nothing else; one that ends would spoil the figure. */
static void stay(struct connection *c) {
    int n = SSL_read(c->ssl, scratch, RECORD);
    if (n > 0 || !would_block(c, n, 0)) die("an idle connection did not stay idle");
}

static void serve(struct connection *c) {
    switch (options.mode) {
    case PINGPONG: return pong(c);
    case UP: return upload(c);
    case DOWN: return download(c);
    case ECHO: return echo(c);
    default: return stay(c);
    }
}

static int short_lived(void) { return options.mode == HANDSHAKE || options.mode == RESUME; }

static void start_serving(struct connection *c) {
    c->state = OPEN;
    ready++;
    if (begun < options.connections) open_connection(&connections[begun++]);
    if (options.mode == PINGPONG) return ping(c);
    watch(c, EPOLLIN);
    serve(c);
}

/* A handshake is over when both sides have said goodbye: close_notify, then the server's end of stream. */
static void say_goodbye(struct connection *c) {
    record(c->began);
    now_total.resumed += SSL_session_reused(c->ssl);
    SSL_shutdown(c->ssl);
    c->state = CLOSING;
    watch(c, EPOLLIN);
}

static void shake(struct connection *c) {
    int result = SSL_do_handshake(c->ssl);
    if (result == 1) return short_lived() ? say_goodbye(c) : start_serving(c);
    if (!would_block(c, result, 0)) die("a handshake failed");
}

/* Only a client that resumes looks at what comes after the handshake: the tickets. */
static int read_raw_end(struct connection *c) {
    ssize_t n;
    while ((n = recv(c->fd, scratch, sizeof scratch, 0)) > 0) continue;
    if (n < 0 && errno == EAGAIN) return 0;
    now_total.resets += n < 0;
    return 1;
}

static int read_tickets_and_end(struct connection *c) {
    int n;
    while ((n = SSL_read(c->ssl, scratch, sizeof scratch)) > 0) continue;
    if (would_block(c, n, 0)) return 0;
    now_total.resets += SSL_get_error(c->ssl, n) != SSL_ERROR_ZERO_RETURN;
    return 1;
}

static void leave(struct connection *c) {
    int ended = options.mode == RESUME ? read_tickets_and_end(c) : read_raw_end(c);
    if (ended) reopen(c);
}

static void advance(struct connection *c) {
    ERR_clear_error();
    switch (c->state) {
    case SHAKING: return shake(c);
    case OPEN: return serve(c);
    case CLOSING: return leave(c);
    }
}

/* ---- the run ---- */

static void turn(int milliseconds) {
    struct epoll_event events[256];
    int n = epoll_wait(epoll, events, 256, milliseconds);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) advance(events[i].data.ptr);
}

static void turn_until(double deadline) {
    for (double left; (left = deadline - now()) > 0;) turn((int)(left * 1000) + 1);
}

static void open_all(void) {
    double patience = now() + PATIENCE;
    while (begun < options.connections && begun < OPENING) open_connection(&connections[begun++]);
    while (!short_lived() && ready < options.connections) {
        turn(1000);
        if (now() > patience) die("not all connections were opened in time");
    }
}

static void report(struct totals a, struct totals b, long pss) {
    if (latency_count) qsort(latencies, latency_count, sizeof *latencies, by_value);
    printf("{\"operations\": %lu, \"bytes\": %lu, \"seconds\": %.6f, \"p50\": %.1f, \"p99\": %.1f, "
           "\"client_cpu\": %.6f, \"server_cpu\": %.6f, \"resumed\": %lu, \"resets\": %lu, "
           "\"connections\": %d, \"pss\": %ld}\n",
           b.operations - a.operations, b.bytes - a.bytes, b.wall - a.wall, percentile(0.5), percentile(0.99),
           b.client_cpu - a.client_cpu, b.server_cpu - a.server_cpu, b.resumed - a.resumed, b.resets - a.resets,
           options.connections, pss);
}

static void run(void) {
    long pss = options.mode == IDLE ? server_pss() : 0;
    open_all();
    turn_until(now() + options.warmup);
    latency_count = 0;
    struct totals start = sample();
    turn_until(start.wall + options.seconds);
    struct totals end = sample();
    report(start, end, options.mode == IDLE ? server_pss() - pss : 0);
}

/* The harness has verified the chain once, before the run; a client that does it each time is a slower client. */
static int trust(X509_STORE_CTX *chain, void *unused) {
    (void)chain, (void)unused;
    return 1;
}

static void make_context(void) {
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384");
    SSL_CTX_set1_groups_list(context, "X25519");
    SSL_CTX_set_cert_verify_callback(context, trust, NULL);
    /* Some servers end the stream without close_notify. */
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1); /* one recv for all that is there, not two for each record */
    if (options.mode == DOWN || options.mode == ECHO) SSL_CTX_set_default_read_buffer_len(context, GULP);
    if (options.mode == RESUME) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_ticket);
    }
    if (options.certificate && (SSL_CTX_use_certificate_chain_file(context, options.certificate) != 1 ||
                                SSL_CTX_use_PrivateKey_file(context, options.key, SSL_FILETYPE_PEM) != 1))
        die("the client certificate");
}

static void make_pattern(void) {
    uint32_t x = 2463534242;
    for (size_t i = 0; i < PATTERN; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        pattern[i] = x;
    }
    memcpy(pattern + PATTERN, pattern, RECORD);
}

static void read_mode(const char *name) {
    for (int i = 0; i < MODES; i++)
        if (strcmp(name, mode_names[i]) == 0) {
            options.mode = i;
            return;
        }
    die("no such mode");
}

static void read_pid(const char *text) {
    if (options.processes == 64) die("too many processes");
    int pid = atoi(text);
    options.pids[options.processes] = pid;
    if (clock_getcpuclockid(pid, &options.clocks[options.processes++]) != 0) die("no such process");
}

static void read_options(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "p:c:s:w:t:C:K:")) != -1;) switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'c': options.connections = atoi(optarg); break;
        case 's': options.size = atoi(optarg); break;
        case 'w': options.warmup = atof(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'C': options.certificate = optarg; break;
        case 'K': options.key = optarg; break;
        default: exit(2);
        }
    if (optind == argc) die("a mode is needed");
    read_mode(argv[optind++]);
    while (optind < argc) read_pid(argv[optind++]);
    if (options.size < 1 || options.size > RECORD) die("a message is at most one record");
    if (options.connections < 1 || (short_lived() && options.connections > OPENING)) die("too many connections");
}

static void allow_many_files(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    alarm(PATIENCE + options.warmup + options.seconds + 10); /* whatever happens, it ends */
    allow_many_files();
    make_context();
    make_pattern();
    connections = calloc(options.connections, sizeof *connections);
    epoll = epoll_create1(0);
    run();
}
