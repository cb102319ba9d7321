"""`python -m tests.docs DATA`: run the documentation's blocks that train, on real data."""

import sys
import tempfile
from pathlib import Path

from tests.docs.blocks import DATA_SET, PAGES, copy_repository, read_blocks, run_block

HOURS = 3600.0


def main(data: str) -> int:
    folder = Path(data).resolve()
    if not folder.is_dir():
        print(f"expected the folder of the data sets, found no folder at {data}", file=sys.stderr)
        return 2
    blocks = [block for page in PAGES for block in read_blocks(page) if block.reason == DATA_SET]
    with tempfile.TemporaryDirectory() as scratch:
        clone = copy_repository(Path(scratch))
        (clone / "data").symlink_to(folder)
        for block in blocks:
            print(f"running {block}", flush=True)
            run_block(block, clone, {}, 4 * HOURS)
    print(f"{len(blocks)} blocks ran")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
