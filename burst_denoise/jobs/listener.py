"""`Listener`: who is told what a job does on its way."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from burst_denoise.burst.series_verdict import SeriesVerdict
    from burst_denoise.frame.frame import Frame
    from burst_denoise.model.train import Progress
    from burst_denoise.session.progress import SessionProgress
    from burst_denoise.session.steps import Outcome

__all__ = ["Listener"]


class Listener:
    """Is told what a job does on its way; silent, so override what is to be heard."""

    def on_series(self, verdict: "SeriesVerdict", frames: "Sequence[Frame]") -> None:
        """Hear the verdict on a series, while its frames are at hand."""

    def on_progress(self, progress: "Progress") -> None:
        """Hear where a training stands, after every step."""

    def on_session(self, shots: int, megapixels: float, memory_bytes: float) -> None:
        """Hear, before a session begins, how large it is and how much memory it takes at most."""

    def on_shot(self, outcome: "Outcome", standing: "SessionProgress") -> None:
        """Hear what became of a shot, and where its session stands."""

    def note(self, text: str) -> None:
        """Hear a line of text: a stage that begins, or what the reader of the result must know."""
