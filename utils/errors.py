"""The one exception a user ever sees, and how a script ends with it."""

import errno
import functools
import os
import select
import signal
import sys
from collections.abc import Callable

from utils import distributed
from utils.terminal import escape, guarded, one_line

signals: list[int] = []  # that have asked this process to end


class UserError(Exception):
    """A mistake that the user can mend, in one line: expected, found, what to do.

    The scripts print it without a traceback and exit with status 1.
    """

    def __init__(self, message: str) -> None:
        # A data loader worker re-raises with its traceback wrapped around the message, which
        # stays the last line: unwrap it, so that one line remains.
        super().__init__(escape(message.rsplit("UserError: ", 1)[-1].strip()))


class LostProcess(UserError):
    """The end of another process of the run."""


def of_system(error: OSError) -> str:
    """The system's word on a file, in one line."""
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk of {error.filename}: free some and repeat"
    return f"{error.strerror}: {error.filename}"


def exit_status(main: Callable[[], None], trains: bool = False) -> Callable[[], int]:
    """Wrap a script's main: 0 when it returns, 1 and one line when the user can mend it.

    Ended by Ctrl-C it is 130 and by a scheduler's SIGTERM 143, as shells have it; what it was
    writing is removed.

    Args:
        main: of the script.
        trains: it may run in several processes.
    """

    def report() -> int:
        at_once, status = False, 1
        signals.clear()
        try:
            if distributed.launched() > 1 and not trains:
                raise UserError("only training runs in several processes: start this with python")
            main()
            sys.stdout.flush()
            return 0
        except UserError as error:
            message, at_once = str(error), isinstance(error, LostProcess)
            status = 128 + signals[-1] if signals else 1
        except KeyboardInterrupt:
            message, status = "interrupted", 128 + signal.SIGINT
        except BrokenPipeError:
            if not has_lost_reader(sys.stdout.fileno()):
                raise
            # Such as head, which has seen enough. The rest, written at exit, goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            if error.filename is None:
                raise
            message = of_system(error)
        except (RuntimeError, MemoryError) as error:
            # Torch's are named by text, since torch must not be imported for this.
            texts = ("out of memory", "can't allocate memory")
            if lost_worker(error):
                message = f"{LOST_WORKER}: give fewer --workers, and the command again"
            elif isinstance(error, MemoryError) or any(text in str(error) for text in texts):
                less = "train with a lower --batch_size" if trains else "free some"
                message = f"out of memory: {less}, or give --device cpu"
            else:
                raise
        distributed.defer_to_rank0(at_once)
        print(one_line(f"error: {message}"), file=sys.stderr)
        return status

    @functools.wraps(main)
    def wrapper() -> int:
        distributed.silence_other_ranks()
        if distributed.launched() == 1:  # others may wait in C++, where no handler of Python's runs
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        with guarded():
            try:
                return report()
            except BaseException:
                distributed.defer_to_rank0()
                raise

    return wrapper


training_exit_status = functools.partial(exit_status, trains=True)


LOST_WORKER = "a loader process was killed, perhaps because the memory was full"


def lost_worker(error: BaseException) -> bool:
    """Tell whether it is torch's, of a loader process that was killed."""
    return "DataLoader worker (pid" in str(error)


def has_lost_reader(descriptor: int) -> bool:
    """Tell whether it is a pipe that nobody reads from any more."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
