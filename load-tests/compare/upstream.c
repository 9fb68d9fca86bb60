/* The model server of the comparison: answers at once, throws bodies away, counts.
 *
 *   upstream PORT...        one thread, one epoll, HTTP/1.1 with Content-Length bodies only
 *
 * `POST /rN` is answered with N bytes once the request's body is in. `GET /_counts` is answered
 * with the requests per port. A port written as `dead:PORT` accepts and never reads: what a
 * hung shadow looks like. It trusts what it is sent; it is no server for anything else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORTS = 8, CONNS = 65536, HEAD = 8192, READ = 256 * 1024, MAX_ANSWER = 1 << 20 };

struct conn {
    int port;            /* index into ports */
    uint64_t body_left;  /* bytes of the request's body still to come */
    int head_len;        /* bytes of an unfinished head */
    int answer;          /* size of the answer that is due, -1: the counts */
    char *out;           /* what the socket did not take */
    size_t out_len;
    char head[HEAD + 1];
};

static struct { int number, dead; uint64_t requests; } ports[PORTS];
static int port_count;
static struct conn *conns[CONNS];
static int epoll_fd;
static char buffer[READ], answer_body[MAX_ANSWER];

static void drop(int fd) {
    close(fd);
    if (conns[fd]) free(conns[fd]->out);
    free(conns[fd]);
    conns[fd] = NULL;
}

static void watch(int fd, uint32_t events, int op) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll_fd, op, fd, &event);
}

/* Sends, and keeps what does not fit until the socket is writable again. */
static int send_all(int fd, struct conn *c, const char *data, size_t len) {
    if (!c->out_len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return -1;
        if (n > 0) data += n, len -= (size_t)n;
        if (!len) return 0;
        watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    char *grown = realloc(c->out, c->out_len + len);
    if (!grown) return -1;
    memcpy(grown + c->out_len, data, len);
    c->out = grown;
    c->out_len += len;
    return 0;
}

static int answer(int fd, struct conn *c) {
    static char out[MAX_ANSWER + 512];
    char counts[512];
    const char *body = answer_body;
    int size = c->answer;
    if (size < 0) {
        int n = snprintf(counts, sizeof counts, "{");
        for (int i = 0; i < port_count; i++)
            n += snprintf(counts + n, sizeof counts - (size_t)n, "%s\"%d\": %llu", i ? ", " : "", ports[i].number,
                          (unsigned long long)ports[i].requests);
        size = n + snprintf(counts + n, sizeof counts - (size_t)n, "}");
        body = counts;
    } else {
        ports[c->port].requests++;
    }
    int head = snprintf(out, 512, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n", size);
    memcpy(out + head, body, (size_t)size);
    return send_all(fd, c, out, (size_t)(head + size));
}

/* Reads a whole head: the answer's size from the path, the body's from Content-Length. */
static void parse(struct conn *c, const char *head) {
    const char *path = strchr(head, ' ');
    c->answer = 256;
    if (path && !strncmp(path, " /_counts", 9)) c->answer = -1;
    else if (path && !strncmp(path, " /r", 3)) c->answer = atoi(path + 3);
    if (c->answer > MAX_ANSWER) c->answer = MAX_ANSWER;
    const char *length = strcasestr(head, "\ncontent-length:");
    c->body_left = length ? strtoull(length + 16, NULL, 10) : 0;
}

/* Takes what was read; several requests and parts of them may be in it. */
static int feed(int fd, struct conn *c, char *data, size_t len) {
    while (len) {
        if (c->body_left) {
            size_t n = len < c->body_left ? len : (size_t)c->body_left;
            c->body_left -= n, data += n, len -= n;
            if (!c->body_left && answer(fd, c) < 0) return -1;
            continue;
        }
        size_t room = HEAD - (size_t)c->head_len, n = len < room ? len : room;
        if (!n) return -1;
        memcpy(c->head + c->head_len, data, n);
        c->head[c->head_len + (int)n] = 0;
        char *end = strstr(c->head, "\r\n\r\n");
        if (!end) {
            c->head_len += (int)n, data += n, len -= n;
            continue;
        }
        size_t used = (size_t)(end + 4 - c->head) - (size_t)c->head_len;
        end[2] = 0;
        parse(c, c->head);
        c->head_len = 0, data += used, len -= used;
        if (!c->body_left && answer(fd, c) < 0) return -1;
    }
    return 0;
}

static void accept_all(int listener, int port) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        int one = 1;
        if (fd >= CONNS || ports[port].dead) {
            if (fd >= CONNS) close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (!(conns[fd] = calloc(1, sizeof(struct conn)))) {
            close(fd);
            continue;
        }
        conns[fd]->port = port;
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static void serve(int fd, uint32_t events) {
    struct conn *c = conns[fd];
    if (!c) return;
    if (events & EPOLLOUT) {
        ssize_t n = send(fd, c->out, c->out_len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return drop(fd);
        if (n > 0) memmove(c->out, c->out + n, c->out_len -= (size_t)n);
        if (!c->out_len) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t n = recv(fd, buffer, READ, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return drop(fd);
        if (n > 0 && feed(fd, c, buffer, (size_t)n) < 0) drop(fd);
    }
}

int main(int argc, char **argv) {
    int listeners[PORTS];
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(0);
    memset(answer_body, '1', sizeof answer_body);
    for (int i = 1; i < argc && port_count < PORTS; i++, port_count++) {
        int dead = !strncmp(argv[i], "dead:", 5), one = 1;
        ports[port_count].dead = dead;
        ports[port_count].number = atoi(argv[i] + (dead ? 5 : 0));
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)ports[port_count].number),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096)) {
            perror(argv[i]);
            return 1;
        }
        listeners[port_count] = fd;
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
    for (;;) {
        struct epoll_event events[512];
        int n = epoll_wait(epoll_fd, events, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd, port = -1;
            for (int k = 0; k < port_count; k++)
                if (listeners[k] == fd) port = k;
            if (port >= 0) accept_all(fd, port);
            else serve(fd, events[i].events);
        }
    }
}
