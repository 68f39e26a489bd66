"""The benchmark on noisy/clean pairs of pictures: methods, baselines and models against the clean pictures."""

from collections.abc import Iterator, Mapping, Sequence

from burst_denoise.errors import InputFileError, ModelFileError
from burst_denoise.io.pairs import NoisyCleanPair
from burst_denoise.jobs.benchmark import (
    BenchmarkSettings,
    ScoredMethod,
    check_names,
    noting_brightness,
    prepared,
    refusal,
)
from burst_denoise.jobs.listener import Listener
from burst_denoise.model.model_file import Model
from burst_denoise.score.outputs import MatchedOutputs, Outputs
from burst_denoise.score.paired import paired_strengths, score_pair, source_of
from burst_denoise.score.rows import BenchmarkRow

__all__ = ["benchmark_pairs"]


def benchmark_pairs(
    pairs: Sequence[NoisyCleanPair],
    methods: Mapping[str, ScoredMethod],
    tune_on: Sequence[NoisyCleanPair] = (),
    settings: BenchmarkSettings = BenchmarkSettings(),
    listener: Listener = Listener(),
) -> Iterator[BenchmarkRow]:
    """Score methods, baselines and the prior, where one comes for pictures, on pairs; give each row when measured.

    Parameters
    ----------
    pairs : sequence of NoisyCleanPair
        From `burst_denoise.io.pairs.read_pairs`. Where there are outputs, only pairs that have one of each program.
    methods : mapping from name to Model, Method or Outputs
        A model is scored on the pictures of its own sensor.
    tune_on : sequence of NoisyCleanPair
        Other pairs to tune the baselines on; by default those that are scored, which favours the baselines (reported).
    settings : BenchmarkSettings
        There is one frame a pair, so it is always scored.
    listener : Listener
        Hears what a reader of the rows must know.

    Raises
    ------
    ModelFileError
        If a model fits none of the pictures; found before any is scored.
    InputFileError
        If there is no pair, a picture is damaged, or outputs do not fit.
    """
    if not pairs:
        raise InputFileError("no pair given; name a folder of noisy and clean pictures")
    _check_models_match(methods, pairs, settings)
    sources = [source_of(pair) for pair in pairs]
    matched = {name: one.matched(sources) if isinstance(one, Outputs) else one for name, one in methods.items()}
    scored = _with_outputs(pairs, matched, listener)
    first = scored[0].noisy
    for method in matched.values():
        if isinstance(method, MatchedOutputs):
            method.of_picture(source_of(scored[0]), first)  # what does not fit is found before any work
    check_names(matched, first.info)
    ways = prepared(matched, first.info, settings)
    listener.note("the noise profile of each pair is fitted to its noisy minus its clean picture")
    if not tune_on:
        listener.note(
            "no other pairs to tune the baselines on (--tune-on); their strengths are tuned on the pairs scored here, "
            "which favours them"
        )
    strengths = paired_strengths(tune_on or scored)
    rows = (row for pair in scored for row in score_pair(pair, ways, strengths))
    outputs = [name for name, method in matched.items() if isinstance(method, MatchedOutputs)]
    found: dict[str, int] = {}
    for row in noting_brightness(rows, outputs, listener):
        found[row.method] = found.get(row.method, 0) + 1
        yield row
    for name in matched:
        if found.get(name, 0) < len(scored):
            listener.note(
                f"{name} is scored on {found.get(name, 0)} of {len(scored)} pairs; it does not serve the others"
            )


def _with_outputs(
    pairs: Sequence[NoisyCleanPair], methods: Mapping[str, object], listener: Listener
) -> Sequence[NoisyCleanPair]:
    """Return the pairs that have an output of every program; all where there are no outputs."""
    outputs = {name: method for name, method in methods.items() if isinstance(method, MatchedOutputs)}
    shared = [pair for pair in pairs if all(source_of(pair) in method.files for method in outputs.values())]
    if not shared:
        raise InputFileError(f"no pair has an output of all of {', '.join(outputs)}; score them one by one")
    if len(shared) < len(pairs):
        listener.note(
            f"{len(shared)} of {len(pairs)} pairs are scored, those with an output of {' and '.join(outputs)}"
        )
    return shared


def _check_models_match(
    methods: Mapping[str, ScoredMethod], pairs: Sequence[NoisyCleanPair], settings: BenchmarkSettings
) -> None:
    """Raise `ModelFileError` when a model fits none of the pictures, which are decoded until one fits."""
    for method in methods.values():
        if not isinstance(method, Model):
            continue
        first: ModelFileError | None = None
        for pair in pairs:
            refused = refusal(method, pair.noisy.info, pair.name, settings)
            if refused is None:
                break
            first = first or refused
        else:
            if first is not None:
                raise first
