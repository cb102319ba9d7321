"""A row's network, written to a folder; the arguments of its export are printed as JSON."""

import json
import sys
from pathlib import Path

from benchmarks.networks.rows import found

if __name__ == "__main__":
    print(json.dumps(list(found()[sys.argv[1]].write(Path(sys.argv[2])))))
