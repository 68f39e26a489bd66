"""The noise of a session's cameras where nothing measured it: estimated once per camera and ISO, from a fixed sample.

The estimate stands in the ledger before the first shot that it serves, so that processes that share a session, and
those that go on with it, denoise with the same.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from burst_denoise import __version__
from burst_denoise.errors import BurstDenoiseError, InputFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.noise_source import ShotNoise
from burst_denoise.schemas import PLANES, FrameInfo, NoiseEntry
from burst_denoise.session.denoisers import Denoisers
from burst_denoise.session.ledger import Ledger
from burst_denoise.session.shots import Shot

__all__ = ["Group", "SessionNoise", "group_of", "noise_for"]

SAMPLE = 3
"""Shots: the one in the middle of three is not led astray by one that is all texture."""
WAIT_S = 0.2

Group = tuple[str, float, int, int]
"""Camera, ISO, rows and columns."""


def group_of(camera: str | None, iso: float | None, height: int, width: int) -> Group | None:
    """Return which shots have the noise of one, or None where it does not say its camera or ISO."""
    return None if camera is None or iso is None else (camera, iso, height, width)


def noise_for(entry: NoiseEntry | None, info: FrameInfo) -> ShotNoise | None:
    """Return the noise of a group as that of one of its shots, or None where there is none, or of another mode."""
    if entry is None or (entry.white_level, entry.profile.planes) != (info.white_level, PLANES[info.domain]):
        return None
    count = len(entry.shots)
    from_shots = "one shot" if count == 1 else f"{count} shots"
    return ShotNoise(entry.profile, f"estimated from {from_shots} of its camera and ISO", structure=entry.structure)


class SessionNoise:
    """Estimates the noise of cameras at ISOs once.

    Parameters
    ----------
    ledger : Ledger
    groups : mapping of Group to sequence of Shot
        All shots of the session, whoever denoises them, in order.
    read : callable
        Reads a shot; may raise `BurstDenoiseError`.
    denoisers : Denoisers
        What serves the shots.
    anew : bool
        Estimates of earlier sessions do not count.
    """

    def __init__(
        self,
        ledger: Ledger,
        groups: Mapping[Group, Sequence[Shot]],
        read: Callable[[Shot], Frame],
        denoisers: Denoisers,
        *,
        anew: bool,
    ) -> None:
        self._ledger, self._groups, self._read, self._denoisers, self._anew = ledger, groups, read, denoisers, anew
        self._group_of = {shot: group for group, shots in groups.items() for shot in shots}
        self._without: set[Group] = set()

    def estimate(self, info: FrameInfo) -> ShotNoise | None:
        """Return the noise of the camera and ISO of a shot that nothing measured, None where only the shot can tell."""
        return noise_for(self._entry(group_of(info.camera, info.iso, info.height, info.width)), info)

    def entry(self, shot: Shot) -> NoiseEntry | None:
        """Return the noise of the camera and ISO of a shot that is not read yet, if it serves such shots."""
        return self._entry(None if shot.burst is not None else self._group_of.get(shot))

    def _entry(self, group: Group | None) -> NoiseEntry | None:
        if group is None or not self._groups.get(group) or group in self._without:
            return None
        entry = self._known(group)
        while entry is None:
            claim = self._ledger.claim(f"noise of {group}", lambda: self._known(group) is None)
            entry = self._known(group)
            if claim is None:
                if entry is None:
                    time.sleep(WAIT_S)  # another process is at it
                continue
            try:
                entry = self._made(group)
                if entry is None:
                    self._without.add(group)
                    return None
                self._ledger.append(entry)
            finally:
                self._ledger.release(claim)
        return entry

    def _known(self, group: Group) -> NoiseEntry | None:
        return self._ledger.noise(*group[:2], group[2:], of_this_session=self._anew)

    def _made(self, group: Group) -> NoiseEntry | None:
        """Return the noise of a group, or None where it was measured, or no shot can tell."""
        used: list[tuple[str, FrameInfo]] = []

        def sample() -> Iterator[Frame]:
            for shot in _spread(self._groups[group]):
                try:
                    frame = self._read(shot)
                except BurstDenoiseError:
                    continue  # it will be named when its turn comes
                if used and _mode(frame.info) != _mode(used[0][1]):
                    continue
                used.append((shot.name, frame.info))
                yield frame
                if len(used) == SAMPLE:
                    return

        frames = sample()
        first = next(frames, None)
        if first is None:
            return None
        try:
            serving = self._denoisers.serving(first.info, first.path.name)
        except BurstDenoiseError:
            return None  # such shots are refused
        if serving.measured:
            return None
        try:
            noise = serving.denoiser.estimate(chain([first], frames))
        except InputFileError:
            return None
        camera, iso, height, width = group
        return NoiseEntry(
            camera=camera,
            iso=iso,
            height=height,
            width=width,
            white_level=used[0][1].white_level,
            shots=tuple(name for name, _ in used),
            profile=noise.profile,
            structure=noise.structure,
            version=__version__,
        )


def _mode(info: FrameInfo) -> tuple[str, float]:
    """Return in what way the camera has written a shot: raw or developed, at what depth."""
    return info.domain, info.white_level


def _spread(shots: Sequence[Shot]) -> list[Shot]:
    """Return shots in another order: some from all over the series first, then the rest."""
    places = dict.fromkeys(round(k * (len(shots) - 1) / max(SAMPLE - 1, 1)) for k in range(SAMPLE))
    return [shots[place] for place in dict.fromkeys([*places, *range(len(shots))])]
