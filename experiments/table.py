"""Every earlier system and ours, trained and scored alike on the same pictures, in one table.

    python -m experiments.table --data BURSTS --minutes-each 15 [--minutes "SYSTEM=60"]
    python -m experiments.table --data BURSTS --quick

BURSTS holds tripod bursts of one camera, at least two scenes; the scene that comes last by name is scored on, the
others are trained on. Pairs of noisy and clean pictures and clean pictures for made noise come from the test data, if
they are there, or from --pairs and --clean. Killed and started again, the command goes on where it was; rows of other
runs in the folder of the output stay, and of each system the one with the longest training is shown.

A minute is a minute of one core's work. All systems of a data set see the same training pictures and are validated on
the same others; what is scored, nothing is trained, tuned or validated on.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import burst_denoise as bd
from burst_denoise.burst.store import find_bursts, open_burst, pooled_by_iso
from burst_denoise.files import write_file
from burst_denoise.jobs.ingest import of_one_sensor
from burst_denoise.score.baselines import tuned_strengths
from experiments.burst_pictures import picture_burst, series_data_set, split_by_scene
from experiments.entries import Comparison, entries
from experiments.pair_pictures import MadePair, PairTest, pair_data_set
from experiments.paper_figures import draw_figures
from experiments.procedural_noise import bundled_pictures, folder_pictures, held_out_scenes, noise_data
from experiments.rows import kept_rows, markdown, row_file, save_rows
from experiments.scoring import SeriesTest
from experiments.training import CHECKPOINT, Budget

DATA = Path(os.environ.get("BURST_DENOISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PAIRS = [DATA / name for name in ("cc60_d800_iso3200", "polyu_canon") if (DATA / name).is_dir()]
CLEAN = DATA / "clean_train"
SECOND = DATA / "s95_iso3200"
"""Bursts of a second camera, for the figure that shows a network on frames it was not made for."""
QUICK = Budget(minutes=0.4, least_steps=100, narrow=True)
"""Of a system in a quick proof: all rows in 40 minutes of two cores."""
MOST_TEST_PICTURES = 6
"""Pictures under made noise that are scored on."""


@dataclass(frozen=True)
class Source:
    """Where a data set comes from."""

    kind: str
    """``series`` (bursts), ``pairs`` or ``noise`` (clean pictures, noise made as training goes)."""
    folder: Path

    def comparison(self, output: Path) -> Comparison:
        """Return the data set, ready to train and score on."""
        if self.kind == "series":
            return _series(self.folder, output / "bursts")
        if self.kind == "pairs":
            return Comparison(*pair_data_set(self.folder))
        pictures = folder_pictures(self.folder) if self.folder.is_dir() else bundled_pictures()
        tests = [MadePair.of(scene) for scene in held_out_scenes(pictures)[:MOST_TEST_PICTURES]]
        data = noise_data(f"{self.folder.name} under made noise", pictures)
        return Comparison(data, PairTest(data.name, tests), makes_noise=True)


@dataclass(frozen=True)
class Job:
    """Rows to be made by one process."""

    source: Source
    entry: str
    budget: Budget
    output: Path
    """Folder of the table."""

    def run(self) -> None:
        """Train and score, and keep the rows."""
        comparison = self.source.comparison(self.output)
        entry = next(entry for entry in entries(comparison) if entry.name == self.entry)
        target = self.target(comparison.name)
        work = self.output / "work" / target.parent.name / target.stem
        save_rows(target, entry.make(comparison, self.budget, work))
        (work / CHECKPOINT).unlink(missing_ok=True)

    def target(self, data: str) -> Path:
        """Return the file of the rows."""
        return row_file(self.output / "rows", data, self.entry, self.budget.minutes, narrow=self.budget.narrow)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of tripod bursts of one camera")
    parser.add_argument("--pairs", type=Path, nargs="*", default=PAIRS, help="folders of noisy and clean pictures")
    parser.add_argument("--clean", type=Path, default=CLEAN, help="folder of clean pictures, for made noise")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes-each", type=float, metavar="M", help="training of a system on one core")
    length.add_argument(
        "--quick", action="store_true", help="100 steps or more of narrowed networks: a proof, no result"
    )
    parser.add_argument("--minutes", action="append", default=[], metavar="SYSTEM=M", help="another budget of a system")
    parser.add_argument("--only", nargs="+", metavar="SYSTEM", help="leave the other systems out")
    parser.add_argument("--output", type=Path, default=Path("table"))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="systems trained at a time")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes started from here
    budget = QUICK if options.quick else Budget(options.minutes_each, least_steps=100)
    longer = {name: float(minutes) for name, _, minutes in (each.rpartition("=") for each in options.minutes)}
    sources = [Source("series", options.data), *(Source("pairs", folder) for folder in options.pairs)]
    sources.append(Source("noise", options.clean))
    jobs = list(_jobs(sources, budget, longer, options.output))
    if options.only:
        jobs = [job for job in jobs if job.entry in options.only]
    print(f"{len(jobs)} to do, {options.workers} at a time", flush=True)
    failed = _run(jobs, options.workers)
    rows = kept_rows(options.output / "rows")
    table = markdown(rows)
    write_file(options.output / "table.md", table.encode(), overwrite=True)
    print(table)
    for path in draw_figures(options.output, SECOND):
        print(path)
    idle = [f"{row.data}: {row.system}" for row in rows if row.has_learnt is False]
    if idle:
        print("error did not fall enough:", "; ".join(idle))
    sys.exit(3 if failed or idle else 0)


def _jobs(sources: Sequence[Source], budget: Budget, longer: dict[str, float], output: Path) -> Iterator[Job]:
    """Yield what is not done yet; the longest first, so that no core waits for it at the end."""
    found = []
    for source in sources:
        comparison = source.comparison(output)
        for entry in entries(comparison):
            own = replace(budget, minutes=longer.get(entry.name, budget.minutes))
            job = Job(source, entry.name, own, output)
            if not job.target(comparison.name).exists():
                found.append(job)
    yield from sorted(found, key=lambda job: -job.budget.minutes)


def _run(jobs: Sequence[Job], workers: int) -> bool:
    """Run jobs in processes of their own; return whether one failed."""
    failed, began = False, time.monotonic()
    with ProcessPoolExecutor(workers, get_context("spawn"), max_tasks_per_child=1) as pool:
        waiting = {pool.submit(job.run): job for job in jobs}
        for number, done in enumerate(as_completed(waiting), 1):
            job = waiting[done]
            error = done.exception()
            failed = failed or error is not None
            words = "done" if error is None else f"failed: {type(error).__name__}: {error}"
            minutes = (time.monotonic() - began) / 60
            print(
                f"{minutes:5.1f} min  {number}/{len(jobs)}  {job.source.folder.name}: {job.entry}: {words}", flush=True
            )
    return failed


def _series(folder: Path, work: Path) -> Comparison:
    """Return the comparison on tripod bursts; what must be decoded, tuned or averaged is kept in ``work``."""
    if not (work / "raw").is_dir():
        bd.ingest(folder, store=work / "raw")
    raw = of_one_sensor([open_burst(path) for path in find_bursts(work / "raw")])
    training, scored = split_by_scene(raw)
    training, scored = (
        pooled_by_iso([picture_burst(burst, work / "pictures" / f"{burst.name}.burst") for burst in bursts])
        for bursts in (training, scored)
    )
    strengths = work / "strengths.json"
    if not strengths.exists():
        write_file(strengths, json.dumps(tuned_strengths(training)).encode())
    test = SeriesTest(scored, json.loads(strengths.read_text()))
    return Comparison(series_data_set(folder.name, training), test, tuple(training), tuple(raw))


if __name__ == "__main__":
    main()
