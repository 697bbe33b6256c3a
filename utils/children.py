"""Child processes that a script waits for, several at once, and takes with it when it ends."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Children:
    """Runs commands, from any thread, until Ctrl-C or SIGTERM.

    Attributes:
        stopped: one of these came, or `terminate` was called: nothing is started any more.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.RLock()  # a second signal may interrupt the first one's handler

    @contextlib.contextmanager
    def until_signalled(self) -> Iterator[None]:
        """Within it, Ctrl-C and SIGTERM end the children and not this process."""

        def interrupt(number: int, frame: Any) -> None:
            # The terminal sends Ctrl-C to the children too, and to them a second one means
            # to end at once: it must not be passed on.
            self.stopped = True
            print("\nstopping as soon as the running children have ended", file=sys.stderr)

        handlers: dict[int, Any] = {
            signal.SIGINT: interrupt,
            signal.SIGTERM: lambda number, frame: self.terminate(),
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def terminate(self) -> None:
        """End all children, and start none any more."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.terminate()

    def call(
        self, command: list[str], environment: dict[str, str], log: Path | None, quiet: bool = False
    ) -> bool:
        """Run a command to its end; whether it succeeded. Once stopped, none is started.

        Args:
            log: file that its output is added to; None leaves it on the terminal.
            quiet: without a log, drop what it prints, but not its errors.
        """
        with contextlib.ExitStack() as stack:
            output: Any = None
            if log is not None:
                output = stack.enter_context(log.open("ab"))
            elif quiet:
                output = subprocess.DEVNULL
            errors = None if log is None else subprocess.STDOUT
            with self._lock:
                if self.stopped:
                    return False
                process = subprocess.Popen(
                    command, stdout=output, stderr=errors, env=os.environ | environment
                )
                self._running.add(process)
            status = process.wait()
            with self._lock:
                self._running.discard(process)
            return status == 0
