import sys
import threading
import time

from utils.children import Children

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def test_a_child_that_does_not_end_when_asked_ends_at_once_when_told(tmp_path):
    children, log = Children(), tmp_path / "log"
    succeeded = []
    command = [sys.executable, "-c", STUBBORN]
    thread = threading.Thread(target=lambda: succeeded.append(children.call(command, {}, log)))
    thread.start()
    while not log.exists() or not log.read_text():
        time.sleep(0.05)
    children.terminate()
    thread.join(0.5)
    assert thread.is_alive()
    children.terminate(at_once=True)
    thread.join()
    assert succeeded == [False]
    assert not children.call(command, {}, log)  # stopped: nothing is started any more
