/* Preloaded into qwrap: hides its own name from the process, and with QUARRY_TEST_HIDE from the
   kernel's view of the environment as well. */
#include <stdlib.h>
#include <string.h>

__attribute__((constructor)) static void hide(void) {
    char *value = getenv("LD_PRELOAD");
    if (!value) return;
    char *hidden = getenv("QUARRY_TEST_HIDE");
    unsetenv("LD_PRELOAD");
    if (hidden) memset(value - strlen("LD_PRELOAD="), 'x', strlen("LD_PRELOAD="));
}
