/* Runs a program under its eyes, as a debugger does, and ends as it does. */
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

int main(int argc, char **argv) {
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    for (;;) {
        int status;
        if (waitpid(child, &status, 0) < 0) return 126;
        if (WIFEXITED(status)) return WEXITSTATUS(status);
        if (WIFSIGNALED(status)) return 125;
        int sig = WSTOPSIG(status);
        ptrace(PTRACE_CONT, child, 0, sig == SIGTRAP ? 0 : sig);
    }
}
