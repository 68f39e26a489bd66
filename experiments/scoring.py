"""Pictures that systems are scored on, by the scores of the library: bursts none was trained on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import burst_denoise as bd
from burst_denoise.arrays import Float
from burst_denoise.frame.frame import Frame
from burst_denoise.score.baselines import Method
from burst_denoise.score.benchmark import REFERENCE_METHOD, score_methods
from burst_denoise.score.rows import BenchmarkRow
from experiments.pictures import decoded, encoded

__all__ = ["Scores", "SeriesTest", "TestPictures", "picture_method", "true_errors"]

Scores = list[dict[str, Any]]
"""Fields of a `BenchmarkRow` for each burst, or set of pairs, that was scored on."""
Denoise = Callable[[Float], Float]
"""(3, H, W) picture of `experiments.pictures` -> denoised picture."""


def picture_method(denoise: Denoise, *, averaged: bool) -> Method:
    """Return a system as a method of the library: it sees encoded pictures, whose noise the frame's profile tells."""

    def method(image: Float, frame: Frame) -> Float:
        profile = frame.noise_profile
        assert profile is not None
        return decoded(denoise(encoded(image, profile)), profile, averaged=averaged)

    return method


class TestPictures(Protocol):
    """What a data set is scored on."""

    def score(self, denoise: Denoise, *, averaged: bool = False) -> Scores:
        """Return the scores of a system; ``averaged`` as for `experiments.pictures.decoded`."""
        ...

    def baselines(self) -> dict[str, Scores]:
        """Return the scores of the noisy pictures, of averaging and of the classical methods, by name."""
        ...

    def pictures(self) -> Iterator[tuple[Float, Float]]:
        """Yield pictures and their clean reference, as systems see them."""
        ...


@dataclass(frozen=True)
class SeriesTest:
    """Bursts of pictures that no system is trained on."""

    bursts: Sequence[bd.Burst]
    strengths: Mapping[str, float]
    """Of the classical methods, tuned on the training bursts."""

    def score(self, denoise: Denoise, *, averaged: bool = False) -> Scores:
        """Return the scores of a system on each burst."""
        return self.score_methods(lambda _burst: picture_method(denoise, averaged=averaged))

    def score_methods(self, method_for: Callable[[bd.Burst], Method]) -> Scores:
        """Return the scores of a method of the library on each burst, made for that burst."""
        reference = {name: value for name, value in self.strengths.items() if name == REFERENCE_METHOD}
        scores: Scores = []
        for burst in self.bursts:
            rows = score_methods([burst], {"system": method_for(burst)}, strengths=reference)
            found = [_fields(row) for row in rows if row.method == "system"]
            if not found:
                raise bd.SeriesError(
                    f"{burst.name}: is not served by the model; its ISO must be among those trained on"
                )
            scores += found
        return scores

    def baselines(self) -> dict[str, Scores]:
        """Return the scores of the noisy frames, of means and of the classical methods on each burst."""
        found: dict[str, Scores] = {}
        for row in score_methods(self.bursts, {}, strengths=self.strengths):
            found.setdefault(row.method, []).append(_fields(row))
        return found

    def pictures(self) -> Iterator[tuple[Float, Float]]:
        """Yield the first frame of each burst and its clean reference, or else the mean of the other frames."""
        for burst in self.bursts:
            clean = burst.leave_one_out_mean(0) if burst.clean is None else burst.clean
            yield encoded(burst.linear(0), burst.profile), encoded(clean, burst.profile)


def true_errors(test: TestPictures, denoise: Denoise) -> float:
    """Return the mean squared error of a system against the clean references, pictures as systems see them."""
    errors = [float(((denoise(noisy) - clean) ** 2).mean()) for noisy, clean in test.pictures()]
    return sum(errors) / len(errors)


def _fields(row: BenchmarkRow) -> dict[str, Any]:
    return row.model_dump(mode="json", exclude={"versions"})
