/* Connects to argv[1], leaves the connection to a child that relays between it and stdin and
   stdout, and becomes the rest of argv: so the kernel calls the socket's other end by the name of
   what it becomes. A byte on stderr says that it is about to. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int pass(int from, int to) {
    char buffer[65536];
    ssize_t n = read(from, buffer, sizeof buffer);
    if (n <= 0) return 0;
    for (ssize_t at = 0, w; at < n; at += w)
        if ((w = write(to, buffer + at, n - at)) <= 0) return 0;
    return 1;
}

int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    int line = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(line, (struct sockaddr *)&address, sizeof address)) return 3;
    if (argc > 2 && fork() != 0) {
        close(line);
        close(0);
        close(1);
        execv(argv[2], argv + 2);
        return 4;
    }
    for (;;) {
        struct pollfd both[2] = {{0, POLLIN, 0}, {line, POLLIN, 0}};
        if (poll(both, 2, -1) < 0) return 5;
        if (both[0].revents && !pass(0, line)) return 0;
        if (both[1].revents && !pass(line, 1)) return 0;
    }
}
