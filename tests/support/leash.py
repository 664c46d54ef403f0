"""Run a command and end it when our own stdin ends, so that no server outlives the tests, however they end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

# What ends in order ends faster than this; the rest is killed.
_GRACE = 3.0


def main(command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end_with_stdin() -> None:
        sys.stdin.buffer.read()
        child.terminate()
        try:
            child.wait(_GRACE)
        except subprocess.TimeoutExpired:
            child.kill()

    # Asked for where our stdin does not end, because a process that a test forked still holds its other end.
    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    threading.Thread(target=end_with_stdin, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
