"""Time until a command answers: --help, and from the command to the first step on digits.

Run: python -m benchmarks.start
"""

import subprocess
import sys
import tempfile
import time

from benchmarks.timing import alternate, ratio


def call(*command: str) -> None:
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)


def first_step() -> float:
    """Seconds until digits reports its first step."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--dataset", "digits", "--print_freq", "1", "--output_dir", f"{folder}/run"]
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "main_CoNeS.py", *flags], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 1 step 1/"):
                seconds = time.perf_counter() - started
                process.kill()
                process.wait()
                return seconds
        raise SystemExit("main_CoNeS.py ended before its first step")


def main() -> None:
    importing, helping, nothing = alternate(
        lambda: call("-c", "import torch, torchvision, timm"),
        lambda: call("main_CoNeS.py", "--help"),
        lambda: call("-c", "pass"),
        repeats=5,
    )
    print(f"python alone {nothing:.2f} s, --help {helping:.2f} s")
    steps = sorted(first_step() for _ in range(3))
    print(f"first step on digits {steps[1]:.1f} s; torch, torchvision, timm alone {importing:.1f}")
    baseline = "importing torch, torchvision and timm"
    ratio("--help", baseline, importing / helping)
    ratio("command to first step on digits", baseline, importing / steps[1])


if __name__ == "__main__":
    main()
