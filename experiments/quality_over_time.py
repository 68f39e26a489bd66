"""Draw quality over time: what `bench_quality.py` and `bench_speed.py` measured, every method one point.

    python -m experiments.bench_quality --json quality.json
    python -m experiments.bench_speed --json speed.json
    python -m experiments.quality_over_time quality.json speed.json quality_over_time.png

A method is on the front if none is both better and faster; the line joins those that are.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

__all__ = ["draw", "front"]

OURS = ("draft", "fast", "best")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quality", type=Path)
    parser.add_argument("speed", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    quality, speed = (json.loads(path.read_text()) for path in (options.quality, options.speed))
    noisy = np.array(quality.pop("single frame"))
    points = {
        name: (speed[name], float(np.mean(np.array(scores) - noisy)))
        for name, scores in quality.items()
        if name in speed
    }
    on_front = front(points)
    for name, (seconds, gain_db) in sorted(points.items(), key=lambda point: point[1]):
        print(f"{name:28s} {seconds:8.3f} s/MP  {gain_db:+.2f} dB{'  on the front' if name in on_front else ''}")
    draw(points, options.picture)


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the methods than which none is both faster and better, fastest first; points are (seconds, decibels)."""
    found: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not found or points[name][1] > points[found[-1]][1]:
            found.append(name)
    return found


def draw(points: Mapping[str, tuple[float, float]], path: Path) -> None:
    """Draw points (seconds a megapixel, mean gain over the single frame in dB) by name into a PNG file."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    names = front(points)
    axes.plot([points[name][0] for name in names], [points[name][1] for name in names], color="0.75", zorder=0)
    for name, (seconds, gain_db) in points.items():
        ours = name.split(",")[0] in OURS
        axes.scatter(seconds, gain_db, color="tab:blue" if ours else "tab:orange", s=36)
        axes.annotate(name, (seconds, gain_db), xytext=(5, -11), textcoords="offset points", fontsize=9)
    axes.set(xscale="log", xlabel="seconds a megapixel of mosaic, two cores", ylabel="gain over the single frame, dB")
    axes.set_title("Six simulated bursts, true PSNR; ours blue, the line joins what nothing else beats in both")
    axes.grid(alpha=0.3, which="both")
    axes.margins(x=0.1)  # room for the last name
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
