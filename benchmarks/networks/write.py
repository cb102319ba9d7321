"""The rows' names as JSON; or a row's network, written to a folder: its sizes and the arguments of
its export."""

import json
import sys
from pathlib import Path

from benchmarks.networks.rows import found

if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps(list(found())))
    else:
        row = found()[sys.argv[1]]
        print(json.dumps({"sizes": row.sizes, "export": list(row.write(Path(sys.argv[2])))}))
