"""Every earlier system and ours, trained and scored alike on the same pictures, in one table.

    python -m experiments.table --data BURSTS --minutes-each 15 [--minutes "SYSTEM=60"] [--output FOLDER]
    python -m experiments.table --data BURSTS --quick

BURSTS holds tripod bursts of one camera, at least two scenes; one scene is scored on, by default the one that comes
last by name, the others are trained on. Pairs of noisy and clean pictures, and clean pictures for synthetic noise, come
from the test data, if it is there, or from --pairs and --clean. Killed and started again, the command goes on where it
was. Rows of other runs in the output folder stay; of each system the one with the longest training is shown.

A minute is a minute of one core's work: 15 minutes each are about four hours of two cores. On one data set all systems
see the same training pictures, in float32, and the same others choose among their weights by the mean squared error.
Nothing is trained or tuned on what is scored. What departs from that:

- "burst_denoise from scratch" is trained as the package trains: half of its pairs are the bursts' noise on pictures
  that come with scikit-image, validation is its own, and it computes in bfloat16 where the processor can.
- "burst_denoise, raw frames, from the prior" is the package as it is used and no equal competitor.
- Deep Image Prior, which is fitted to each scored picture, stops by another frame of its burst.
- Classical methods are told the noise: on pairs, as each scored pair shows it, which favours them. They have rows where
  there are bursts or pairs to tune on, not under synthetic noise. Our rows need bursts.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import cv2

import burst_denoise as bd
from burst_denoise.burst.one_sensor import of_one_sensor
from burst_denoise.burst.store import open_burst, pooled_by_iso
from burst_denoise.cli.console import Console
from burst_denoise.files import write_file
from burst_denoise.score.resources import versions
from burst_denoise.score.tuning import tuned_strengths
from experiments.burst_pictures import picture_burst, series_data_set, split_by_scene
from experiments.crops import crops_of, save_crops
from experiments.data_folder import DATA, folder_sha256
from experiments.entries import Comparison, entries
from experiments.pair_pictures import MadePair, PairTest, pair_data_set
from experiments.paper_figures import draw_figures
from experiments.procedural_noise import bundled_pictures, folder_pictures, held_out_scenes, noise_data
from experiments.rows import kept_rows, markdown, read_rows, row_file, save_rows
from experiments.scoring import SeriesTest
from experiments.training import CHECKPOINT, Budget

PAIRS = [DATA / name for name in ("cc60_d800_iso3200", "polyu_canon") if (DATA / name).is_dir()]
CLEAN = DATA / "clean_train" if (DATA / "clean_train").is_dir() else None
SECOND = DATA / "s95_iso3200"
QUICK = Budget(minutes=0.6, least_steps=100, narrow=True)
"""Of a system in a quick proof: all rows in 40 minutes of two cores."""
MOST_TEST_PICTURES = 6
"""Pictures under synthetic noise that are scored on."""


@dataclass(frozen=True)
class Source:
    """Where a data set comes from."""

    kind: str
    """``series`` (bursts), ``pairs`` or ``noise`` (clean pictures, noise added as training goes)."""
    folder: Path | None
    """None for the clean pictures that come with scikit-image."""
    scored: tuple[str, ...] = ()
    """Names of the bursts to score on; empty for those of the scene that comes last by name."""

    @property
    def name(self) -> str:
        """Of the data set; that of its folder."""
        name = "scikit-image" if self.folder is None else self.folder.resolve().name
        return f"{name}, synthetic noise" if self.kind == "noise" else name

    @cached_property
    def sha256(self) -> str:
        """Of the names and contents of all its files."""
        return folder_sha256(self.folder)

    def comparison(self, output: Path) -> Comparison:
        """Return the data set, ready to train and score on.

        Raises
        ------
        BurstDenoiseError
            If there is nothing in the folder that can be compared on.
        """
        found = self._comparison(output)
        return replace(found, data=replace(found.data, sha256=self.sha256))

    def _comparison(self, output: Path) -> Comparison:
        if self.kind == "series":
            return _series(self, output / "bursts" / self.name)
        if self.kind == "pairs":
            assert self.folder is not None
            return Comparison(*pair_data_set(self.folder))
        pictures = bundled_pictures() if self.folder is None else folder_pictures(self.folder)
        tests = [MadePair.of(scene) for scene in held_out_scenes(pictures, MOST_TEST_PICTURES)]
        return Comparison(noise_data(self.name, pictures), PairTest(self.name, tests), synthetic_noise=True)


@dataclass(frozen=True)
class Job:
    """Rows to be made by one process."""

    source: Source
    entry: str
    budget: Budget
    output: Path
    """Folder of the table."""

    def run(self) -> None:
        """Train and score, note the run in the log, and keep the rows: they last, for they say that it is done."""
        cv2.setNumThreads(1)
        comparison = self.source.comparison(self.output)
        entry = next(entry for entry in entries(comparison) if entry.name == self.entry)
        work = self.output / "work" / self.target.parent.name / self.target.stem
        made = entry.make(comparison, self.budget, work)
        if isinstance(comparison.test, SeriesTest) and (crops := crops_of(made, comparison.test)):
            save_crops(self.target.with_suffix(".npz"), crops)
        rows = [replace(each.row, data_sha256=self.source.sha256, version=bd.__version__) for each in made]
        scores = {
            row.system: [score["true_psnr_db"] or score["corrected_psnr_db"] for score in row.scores] for row in rows
        }
        self.note(psnr_db=scores)
        save_rows(self.target, rows)
        (work / CHECKPOINT).unlink(missing_ok=True)

    def note(self, **ending: object) -> None:
        """Add a line to the log: that it ended, and how."""
        run = {"ended": datetime.now(UTC).isoformat(timespec="seconds"), "data": self.source.name, "entry": self.entry}
        more = {"budget": dataclasses.asdict(self.budget), "versions": versions()}
        with (self.output / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(run | more | ending) + "\n")

    def is_done(self) -> bool:
        """Return whether its rows are there.

        Raises
        ------
        ConfigError
            If they are of other files.
        """
        known = {row.data_sha256 for row in read_rows(self.target)} if self.target.exists() else set()
        if known - {"", self.source.sha256}:
            raise bd.ConfigError(
                f"{self.target}: is of other files than {self.source.folder} holds now; name another --output"
            )
        return bool(known)

    @property
    def target(self) -> Path:
        """The file of the rows."""
        folder = self.output / "rows"
        return row_file(folder, self.source.name, self.entry, self.budget.minutes, narrow=self.budget.narrow)


def main() -> None:
    options = _options()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes started from here
    try:
        sys.exit(_table(options))
    except bd.BurstDenoiseError as error:
        sys.exit(f"error: {error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder of tripod bursts of one camera; names of the bursts of one scene differ by an isoNNN at their end "
        "alone (else name those to score on, all of one scene, by --scored)",
    )
    parser.add_argument("--scored", nargs="+", default=[], metavar="BURST", help="names of the bursts to score on")
    parser.add_argument("--pairs", type=Path, nargs="*", default=PAIRS, help="folders of noisy and clean pictures")
    parser.add_argument("--clean", type=Path, default=CLEAN, help="folder of clean pictures, for synthetic noise")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes-each", type=float, metavar="M", help="training of a system on one core")
    length.add_argument(
        "--quick", action="store_true", help="100 steps or more of narrowed networks: a proof, no result"
    )
    parser.add_argument("--minutes", action="append", default=[], metavar="SYSTEM=M", help="another budget of a system")
    parser.add_argument("--only", nargs="+", default=[], metavar="SYSTEM", help="leave the other systems out")
    parser.add_argument("--output", type=Path, default=Path("table"), help="folder for rows, table and figures")
    parser.add_argument("--second", type=Path, default=SECOND, help="frames of a second camera, for figure 9")
    parser.add_argument("--workers", type=int, default=2, help="systems trained at a time, each on one core")
    return parser.parse_args()


def _table(options: argparse.Namespace) -> int:
    """Make what is missing, print the table, draw the figures; return the exit code."""
    sources = [Source("series", options.data, tuple(options.scored))]
    sources += [Source("pairs", folder) for folder in options.pairs] + [Source("noise", options.clean)]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise bd.ConfigError(f"two folders of one name among {', '.join(names)}; rename one")
    jobs = list(_jobs(sources, options))
    print(f"{len(jobs)} to do, {options.workers} at a time", flush=True)
    failed = _run(jobs, options.workers)
    known = {source.name: {"", source.sha256} for source in sources}
    rows = [row for row in kept_rows(options.output / "rows") if row.data_sha256 in known.get(row.data, ())]
    table = markdown(rows)
    write_file(options.output / "table.md", table.encode(), overwrite=True)
    print(table)
    for path in draw_figures(sources[0].comparison(options.output), options.output, options.second):
        print(path)
    not_learnt = [f"{row.data}: {row.system}" for row in rows if row.has_learnt is False]
    if not_learnt:
        print("error did not fall enough:", "; ".join(not_learnt))
    return 3 if failed or not_learnt else 0


def _jobs(sources: Sequence[Source], options: argparse.Namespace) -> Iterator[Job]:
    """Yield what is not done yet; the longest first, so that no core waits for it at the end.

    Raises
    ------
    ConfigError
        If a system is named that no data set has.
    """
    budget = QUICK if options.quick else Budget(options.minutes_each, least_steps=100)
    longer = dict(_named_minutes(each) for each in options.minutes)
    found = [(source, entry.name) for source in sources for entry in entries(source.comparison(options.output))]
    known = dict.fromkeys(name for _, name in found)
    for name in (*longer, *options.only):
        if name not in known:
            raise bd.ConfigError(f"no system is called {name!r}; there are {', '.join(known)}")
    jobs = []
    for source, name in found:
        job = Job(source, name, replace(budget, minutes=longer.get(name, budget.minutes)), options.output)
        if not job.is_done() and (not options.only or name in options.only):
            jobs.append(job)
    yield from sorted(jobs, key=lambda job: -job.budget.minutes)


def _named_minutes(text: str) -> tuple[str, float]:
    name, _, minutes = text.rpartition("=")
    try:
        return name, float(minutes)
    except ValueError as error:
        raise bd.ConfigError(f"--minutes {text}: names no system and its minutes; write SYSTEM=60") from error


def _run(jobs: Sequence[Job], workers: int) -> bool:
    """Run jobs in processes of their own; return whether one failed."""
    failed, began = False, time.monotonic()
    with ProcessPoolExecutor(workers, get_context("spawn"), max_tasks_per_child=1) as pool:
        waiting = {pool.submit(job.run): job for job in jobs}
        for number, done in enumerate(as_completed(waiting), 1):
            job, error = waiting[done], done.exception()
            words = "done" if error is None else f"failed: {error}"
            minutes = (time.monotonic() - began) / 60
            print(f"{minutes:5.1f} min  {number}/{len(jobs)}  {job.source.name}: {job.entry}: {words}", flush=True)
            if error is not None:
                failed = True
                waiting[done].note(failed=str(error))
                if not isinstance(error, bd.BurstDenoiseError):
                    traceback.print_exception(error)
    return failed


def _series(source: Source, work: Path) -> Comparison:
    """Return the comparison on tripod bursts; what must be decoded, tuned or averaged is kept in ``work``."""
    training, scored = split_by_scene(_stored(source, work), source.scored)
    # Each side by itself: training must not know noise and defects of what is scored on.
    raw, raw_scored = of_one_sensor(training), of_one_sensor(scored)
    pictures, scored_pictures = (
        pooled_by_iso([picture_burst(burst, work / "pictures" / f"{burst.name}.burst") for burst in bursts])
        for bursts in (raw, raw_scored)
    )
    strengths = work / "strengths.json"
    if not strengths.exists():
        write_file(strengths, json.dumps(tuned_strengths(pictures)).encode())
    test = SeriesTest(scored_pictures, json.loads(strengths.read_text()))
    data = series_data_set(source.name, pictures)
    return Comparison(data, test, tuple(pictures), tuple(raw), tuple(raw_scored))


def _stored(source: Source, work: Path) -> list[bd.Burst]:
    """Return the bursts of a folder, stored in ``work`` the first time.

    Raises
    ------
    ConfigError
        If the folder holds the bursts of another one, or was split in another way.
    """
    assert source.folder is not None
    note, origin = work / "source.json", {"sha256": source.sha256, "scored": sorted(source.scored)}
    if note.exists():
        known = json.loads(note.read_text(encoding="utf-8"))
        if {key: known.get(key) for key in origin} != origin:
            raise bd.ConfigError(f"{work}: is of other files, or another --scored; name another --output")
        return [open_burst(Path(path)) for path in known["bursts"]]
    bursts = bd.ingest(source.folder, store=work / "raw", listener=Console())
    training, scored = split_by_scene(bursts, source.scored)
    for words, part in (("trained", training), ("scored", scored)):
        print(f"{words} on: {', '.join(burst.name for burst in part)}", flush=True)
    paths = [str(burst.folder.resolve()) for burst in bursts]
    write_file(note, json.dumps(origin | {"bursts": paths}, indent=1).encode())
    return bursts


if __name__ == "__main__":
    main()
