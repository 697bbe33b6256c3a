import os
import signal

import pytest

from utils.progress import interruptible, progress_bar, report


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_handlers_come_back(number, capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruptible() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert "stopping after this step" in capfd.readouterr().err


def test_a_second_ctrl_c_ends_at_once():
    with interruptible():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_without_a_terminal_the_loss_is_a_line(capsys):
    with progress_bar("epoch 1", 10) as bar:
        report(bar, "epoch 1 step 2/5", 0.12345)
    captured = capsys.readouterr()
    assert captured.out == "epoch 1 step 2/5  loss 0.1235\n"
    assert captured.err == ""
