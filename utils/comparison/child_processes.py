"""Child processes that a script waits for, several at once, and ends when a signal ends it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.errors import signals


class ChildProcesses:
    """Commands run from any thread, until Ctrl-C or SIGTERM.

    Each has a session of its own: no signal reaches it but what is passed on from here, whether
    a terminal sends it or a scheduler, to this process alone.

    Attributes:
        stopped: one of these came, or `terminate` was called: nothing is started any more.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.RLock()  # a second signal may interrupt the first one's handler

    @contextlib.contextmanager
    def until_signalled(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the children, which store what they have, and not this
        process. A second Ctrl-C ends them at once, as does a closed terminal, to which they
        could not print that they store.
        """
        interrupts = 0

        def stop(number: int, frame: Any) -> None:
            nonlocal interrupts
            interrupts += number == signal.SIGINT
            signals.append(number)
            self.terminate(at_once=interrupts > 1)
            if interrupts < 2:
                again = "Ctrl-C again ends it at once"
                print(f"\nstopping when what runs is stored; {again}", file=sys.stderr)

        handlers: dict[int, Any] = {
            signal.SIGINT: stop,
            signal.SIGTERM: stop,
            signal.SIGHUP: lambda number, frame: self.terminate(at_once=True),
            signal.SIGQUIT: lambda number, frame: self.terminate(at_once=True),
        }
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup
            del handlers[signal.SIGHUP]
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def terminate(self, at_once: bool = False) -> None:
        """End all children, by SIGKILL if `at_once`, and start none any more."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)

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
                    command,
                    stdout=output,
                    stderr=errors,
                    env=os.environ | environment,
                    start_new_session=True,
                )
                self._running.add(process)
                if self.stopped:  # by a signal while it was started, which passed it by
                    process.terminate()
            status = process.wait()
            with self._lock:
                self._running.discard(process)
            return status == 0
