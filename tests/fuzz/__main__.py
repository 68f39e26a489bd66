"""``python -m tests.fuzz 100000``: many inputs, with a table of how they ended; ``... replay FOLDER``: one again."""

import argparse
import sys
import time
from pathlib import Path

import cv2
import torch

from tests.fuzz.campaign import OUTCOMES, Campaign, replay
from tests.fuzz.kinds import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("count", help="how many inputs, or: replay")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("fuzz-findings"), help="where findings are kept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one kind alone")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if given.count == "replay":
        replay(given.folder)
        return 0
    began = time.monotonic()
    kinds = [kind for kind in KINDS if given.only in (None, kind.name)]
    campaign = Campaign(given.seed, given.folder, kinds)
    ended = campaign.run(int(given.count))
    print(f"{'kind':12}" + "".join(f"{title:>11}" for title in (*OUTCOMES, "peak MB")))
    for name, counts in ended.items():
        print(
            f"{name:12}" + "".join(f"{counts[outcome]:11}" for outcome in OUTCOMES) + f"{campaign.peak_mb(name):11.0f}"
        )
    print(f"{given.count} inputs in {time.monotonic() - began:.0f} s, seed {given.seed}; findings in {given.folder}")
    return any(counts[outcome] for counts in ended.values() for outcome in OUTCOMES[2:])


if __name__ == "__main__":
    sys.exit(main())
