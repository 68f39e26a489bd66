"""Rows of the table: what a system is, what its training took, how it scored; kept as JSON, printed as Markdown."""

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from burst_denoise.files import write_file
from burst_denoise.score.rows import rounded
from experiments.scoring import Scores

__all__ = [
    "NARROWED",
    "Row",
    "complexity",
    "kept_rows",
    "markdown",
    "parameter_count",
    "read_rows",
    "row_file",
    "save_rows",
]


NARROWED = " (narrowed)"
"""Behind the name of a system whose network was narrowed."""


@dataclass(frozen=True)
class Row:
    """One system on one data set."""

    system: str
    data: str
    scores: Scores
    narrow: bool = False
    """Whether the network was narrowed for a quick proof; its numbers say nothing about the system then."""
    parameters: int | None = None
    kmac_per_pixel: float | None = None
    """Thousand multiply-adds per pixel of the picture, forward."""
    minutes: float | None = None
    """Training, one core's minutes."""
    steps: int | None = None
    best_step: int | None = None
    """The step whose weights are scored."""
    training: str = ""
    """Folder of the training, in that of all work."""
    frames: int | None = None
    """Noisy frames, or pairs, of the training."""
    residual: bool = False
    error_noisy: float | None = None
    """Mean squared error of the noisy test pictures against the clean ones, as systems see them."""
    error_untrained: float | None = None
    """The same of the network before training."""
    error_trained: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    """Step, and mean squared error on the validation pairs; of our own network, its validation score in dB."""
    data_sha256: str = ""
    """Of the files of the data set; empty in rows of versions up to 0.8.0."""
    version: str = ""
    """Of the package; empty likewise."""

    @property
    def quality(self) -> float:
        """Mean PSNR, dB: the true one, or else the corrected one."""
        scores = [score["true_psnr_db"] or score["corrected_psnr_db"] or 0.0 for score in self.scores]
        return sum(scores) / max(len(scores), 1)

    @property
    def has_learnt(self) -> bool | None:
        """Whether the error fell: below the noisy input's for residual networks, below half of its first for others."""
        if self.error_trained is None or self.error_noisy is None or self.error_untrained is None:
            return None
        return self.error_trained < (self.error_noisy if self.residual else self.error_untrained / 2)


def complexity(network: nn.Module, planes: int = 3, side: int = 512) -> tuple[int, float]:
    """Return the number of trained parameters, and thousand multiply-adds per pixel of square planes.

    What a network computes in a border around them counts too, a discriminator's multiply-adds do not.
    """
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, planes, side, side))
    return parameter_count(network), counter.get_total_flops() / 2 / side**2 / 1000


def parameter_count(network: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def row_file(folder: Path, data: str, system: str, minutes: float, *, narrow: bool) -> Path:
    """Return the file in which a row is kept."""
    slug = re.sub(r"[^a-z0-9]+", "_", system.lower()).strip("_")
    return folder / data / f"{slug}-{'quick' if narrow else f'{minutes:g}min'}.json"


def save_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows that were made together."""
    write_file(path, json.dumps([dataclasses.asdict(row) for row in rows], indent=1).encode(), overwrite=True)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file."""
    return [
        Row(**fields | {"curve": tuple(map(tuple, fields["curve"]))})
        for fields in json.loads(path.read_text(encoding="utf-8"))
    ]


def kept_rows(folder: Path) -> list[Row]:
    """Return all rows in a folder: of each system and data set the one of the longest training, not narrowed if any."""
    found: dict[tuple[str, str], Row] = {}
    for path in sorted(folder.rglob("*.json")):
        for row in read_rows(path):
            other = found.get((row.data, row.system))
            if other is None or _rank(other) < _rank(row):
                found[row.data, row.system] = row
    return list(found.values())


def _rank(row: Row) -> tuple[bool, float]:
    return not row.narrow, row.minutes or 0


def markdown(rows: Sequence[Row]) -> str:
    """Return one table for each data set, its rows in the order of their error."""
    lines: list[str] = []
    for data in dict.fromkeys(row.data for row in rows):
        chosen = [row for row in rows if row.data == data]
        names = [score["burst"] for score in chosen[0].scores]
        lines += [f"### {data}", "", f"PSNR in dB and SSIM on {' / '.join(names)}. {NOTE}", ""]
        lines += ["| | " + " | ".join(title for title, _ in COLUMNS) + " |", "|---" + "|---:" * len(COLUMNS) + "|"]
        for row in sorted(chosen, key=lambda row: row.quality, reverse=True):
            cells = [cell(row) or "" for _, cell in COLUMNS]
            remark = NARROWED * row.narrow + (" (has not learnt)" if row.has_learnt is False else "")
            lines.append(f"| {row.system}{remark} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _joined(row: Row, field: str, digits: int) -> str:
    return " / ".join(rounded(score, field, digits) or "" for score in row.scores).strip(" /")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


NOTE = (
    "A minute is one core's. Frames: noisy frames or pairs trained on; none where noise is added as training goes or a "
    "network is fitted to the scored picture itself."
)
COLUMNS = (
    ("corrected PSNR", lambda row: _joined(row, "corrected_psnr_db", 2)),
    ("true PSNR", lambda row: _joined(row, "true_psnr_db", 2)),
    ("SSIM", lambda row: _joined(row, "ssim", 4)),
    ("parameters", lambda row: _number(row.parameters, 0)),
    ("kMAC/pixel", lambda row: _number(row.kmac_per_pixel, 0)),
    ("s/MP", lambda row: _joined(row, "seconds_per_megapixel", 2)),
    ("minutes", lambda row: _number(row.minutes, 1)),
    ("steps", lambda row: _number(row.steps, 0)),
    ("frames", lambda row: _number(row.frames, 0)),
)
"""Title of a column, and its cell of a row."""
