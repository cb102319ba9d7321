"""`python -m tests.runtime.bulk.killed FOLDER ...`: run `python -m runtime ...`, and kill it once
three groups are in the ledger of FOLDER."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.runtime.bulk.test_jobs import done


def main(folder: Path, *arguments: str) -> None:
    process = subprocess.Popen([sys.executable, "-m", "runtime", *arguments])
    while process.poll() is None and done(folder) < 3:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    if process.wait(60) != -signal.SIGKILL:
        raise SystemExit(f"expected a killed process, found its status {process.returncode}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
