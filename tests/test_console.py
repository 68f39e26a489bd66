"""What a person reads is ours alone: libraries in C are kept from writing between it."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np


def test_a_damaged_picture_is_told_of_in_one_line_and_no_library_adds_to_it(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8))
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    data[1000:1200] = b"\xff\xd9" * 100  # of which libjpeg says so on the file descriptor
    (tmp_path / "a.jpg").write_bytes(data)
    movie = cv2.VideoWriter(str(tmp_path / "b.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    movie.write(np.zeros((48, 64, 3), np.uint8))
    movie.release()
    (tmp_path / "b.avi").write_bytes((tmp_path / "b.avi").read_bytes()[:3000] + bytes(2000))
    command = [sys.executable, "-m", "burst_denoise", "ingest", str(tmp_path), "-o", str(tmp_path / "bursts")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 1
    assert "Corrupt JPEG" not in done.stderr
    assert "avi @" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
