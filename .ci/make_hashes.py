"""Write .ci/hashes.txt anew from constraints.txt, after a version was changed there: ``python .ci/make_hashes.py``.

For each package but torch, the SHA-256 of every file that pip chooses on Linux, x86_64 or aarch64, with Python 3.11.
torch is left out: it comes from another place on each kind of machine, for its GPU or without one.
"""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
GLIBCS = ["2_39", "2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5"]
OLD_NAMES = ["manylinux2014", "manylinux2010", "manylinux1"]


def main() -> None:
    """Ask pip what it would install on either machine, and write down the hashes."""
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    hashes: dict[str, set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as folder:
        hashed = Path(folder, "pins.txt")
        hashed.write_text("\n".join(pin for pin in pins if not pin.startswith("torch==")))
        for machine in ("x86_64", "aarch64"):
            report = Path(folder, f"{machine}.json")
            systems = [*(f"manylinux_{glibc}" for glibc in GLIBCS), *OLD_NAMES]
            platforms = [f"--platform={system}_{machine}" for system in systems]
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
            where = ["--target", folder, "--python-version=3.11", *platforms]
            subprocess.run([*pip, *where, "--report", str(report), "-r", str(hashed)], check=True)
            for found in json.loads(report.read_text())["install"]:
                of = found["metadata"]
                digest = found["download_info"]["archive_info"]["hashes"]["sha256"]
                hashes[f"{of['name'].lower().replace('_', '-')}=={of['version']}"].add(digest)
    header = "# Made by .ci/make_hashes.py from constraints.txt.\n"
    lines = [" ".join([pin, *(f"--hash=sha256:{each}" for each in sorted(hashes[pin]))]) for pin in sorted(hashes)]
    (ROOT / ".ci" / "hashes.txt").write_text(header + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
