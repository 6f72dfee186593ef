"""The process of one index run: the command, tied by its standard input to the service that started it.

The tie is a pipe of which only the service holds the other end: the system closes it when the service ends,
however that happens. PR_SET_PDEATHSIG would ask for code between fork and exec, which can deadlock among
many threads, and takes the end of the thread that started the process for that of the service.
"""

import os
import signal
import sys
import threading
import time

ORPHAN_GRACE_S = 60.0
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command `sys.argv` says, and end it as Ctrl-C would when standard input is closed."""
    # A service that was started in the background may have it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_service, daemon=True).start()
    try:
        from medsiglip_search.cli import main as run_command

        run_command(sys.argv[1:])
    except KeyboardInterrupt:  # before the command was there to take it
        sys.exit(EXIT_INTERRUPTED)


def _end_with_service() -> None:
    os.read(0, 1)  # returns at its end: nothing is ever written
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    signal.pthread_kill(main_thread, signal.SIGINT)  # sent to it, so that it wakes from whatever it waits for
    time.sleep(ORPHAN_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
