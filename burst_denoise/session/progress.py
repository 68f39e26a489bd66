"""How a session gets on: shots, megapixels a second, time left."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from burst_denoise.session.steps import Outcome

__all__ = ["ProgressMeter", "SessionProgress"]


@dataclass(frozen=True)
class SessionProgress:
    """Where a session stands after a shot."""

    count: int
    """Shots of the session."""
    ended: int
    """Shots done, done before or failed."""
    failed: int
    megapixels_per_s: float | None
    """Rate since the session began; None where nothing was done."""
    seconds_left: float | None


@dataclass
class ProgressMeter:
    """Counts a session's shots and the time they take."""

    count: int = 0
    megapixels_left: float = 0.0
    begun_at: float = field(default_factory=time.monotonic)
    ended: int = 0
    failed: int = 0
    megapixels: float = 0.0

    def expect(self, megapixels: Sequence[float]) -> None:
        """Count shots, of so many megapixels each, that are to come."""
        self.count += len(megapixels)
        self.megapixels_left += sum(megapixels)

    def after(self, outcome: Outcome, megapixels: float) -> SessionProgress:
        """Count a shot that has ended, and return where the session stands."""
        self.ended += 1
        self.failed += outcome.how == "failed"
        self.megapixels_left -= megapixels
        if outcome.how in ("done", "done by another process"):
            self.megapixels += megapixels
        rate = self.megapixels / max(time.monotonic() - self.begun_at, 1e-3)
        return SessionProgress(
            self.count, self.ended, self.failed, rate or None, self.megapixels_left / rate if rate > 0 else None
        )
