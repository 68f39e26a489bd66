"""What other programs made of frames: files in a folder, matched to the frames by name, read to be scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from burst_denoise.arrays import Float
from burst_denoise.burst.burst import Burst
from burst_denoise.errors import InputFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.io.metadata import DARK_MARK, processing_note
from burst_denoise.io.read import FRAME_SUFFIXES, is_raw, is_video, read_frame

__all__ = ["MatchedOutputs", "Outputs", "Source", "read_output"]

Source = tuple[str, str]
"""A frame as outputs are matched to it: the sub-folder that its output may lie in, and the name of its file."""


@dataclass(frozen=True)
class Outputs:
    """A folder of files that another program, or this one, made of frames: a method that a benchmark can score."""

    folder: Path

    def matched(self, sources: Sequence[Source]) -> "MatchedOutputs":
        """Return which of the files was made of which frame.

        Parameters
        ----------
        sources : sequence of (sub-folder, file name)
            *All* frames of a benchmark, so that none takes the output of another. Where the folder has the sub-folder
            of a frame (the name of its burst; or the folders in the name of its pair, s1 of s1/1, and if there are none
            the folder of its noisy picture) its output is looked for in there, otherwise in the folder itself.

        Returns
        -------
        MatchedOutputs
            The stem of an output begins with that of its frame, followed by nothing or by what is no letter or digit
            (``IMG_12-denoised.dng``); where several frames fit, the longest name counts. Other files are passed over.

        Raises
        ------
        InputFileError
            If there is no such folder, two outputs are of one frame or two frames share an output, or none is matched.
        """
        if not self.folder.is_dir():
            raise InputFileError(f"{self.folder}: no such folder; name one that holds denoised frames")
        inside = {group for group, _ in sources if (self.folder / group).is_dir()}
        found: dict[Source, Path] = {}
        for group in ["", *sorted(inside)]:
            here = [source for source in sources if (source[0] if source[0] in inside else "") == group]
            for path in sorted((self.folder / group).iterdir()):
                if path.suffix.lower() in FRAME_SUFFIXES and not is_video(path):
                    self._match(path, here, found)
        if not found:
            names = ", ".join(name for _, name in sources[:2])
            raise InputFileError(
                f"{self.folder}: no file in it is named after a frame ({names}, ...); an output is named as its frame, "
                "with or without an ending such as -denoised"
            )
        return MatchedOutputs(self.folder, found)

    def _match(self, path: Path, sources: Sequence[Source], found: dict[Source, Path]) -> None:
        """Add the frame that a file was made of, if it is of any."""
        fitting = [source for source in sources if _made_of(path.stem, Path(source[1]).stem)]
        longest = max((len(Path(name).stem) for _, name in fitting), default=0)
        best = [source for source in fitting if len(Path(source[1]).stem) == longest]
        if len(best) > len(set(best)):
            group, name = best[0]
            raise InputFileError(
                f"{path}: may be made of either of two frames that are both {name} of {group}; score them one by one"
            )
        if len(best) > 1:
            raise InputFileError(
                f"{path}: may be made of {' or of '.join(f'{name} of {group}' for group, name in best[:2])}; put the "
                f"outputs of each into a folder of that name in {self.folder}"
            )
        for source in best:
            if (other := found.setdefault(source, path)) != path:
                raise InputFileError(f"{path}: is made of {source[1]}, as {other.name} is; leave one of them")


@dataclass(frozen=True)
class MatchedOutputs:
    """Outputs with the frames that they were made of."""

    folder: Path
    files: Mapping[Source, Path]

    def frames_of(self, burst: Burst) -> list[int]:
        """Return the numbers of the frames of a burst that have an output."""
        return [index for index in range(len(burst)) if (burst.name, burst.frame(index).path.name) in self.files]

    def of_picture(self, source: Source, frame: Frame) -> Float:
        """Return the output of a picture, linear."""
        return read_output(self.files[source], frame)

    def of_burst(self, burst: Burst, index: int) -> Float:
        """Return the output of a frame as the burst gives the frame itself: dark subtracted, brightness corrected."""
        frame = burst.frame(index)
        path = self.files[burst.name, frame.path.name]
        return burst.corrected(read_output(path, frame), index, subtract=DARK_MARK not in processing_note(path))


def read_output(path: Path, frame: Frame) -> Float:
    """Return what another program made of a frame, linear by its own black and white levels.

    Its brightness is not evened out.

    Raises
    ------
    InputFileError
        If it is damaged, or of another size, kind or mosaic than the frame: a raw frame is compared mosaic with mosaic.
    """
    info = frame.info
    needed = f"{frame.path.name} is raw, so that a mosaic DNG is needed, neither demosaiced nor developed"
    if info.cfa is not None and not is_raw(path):
        raise InputFileError(f"{path}: is a developed picture; {needed}")
    try:
        output = read_frame(path)
    except InputFileError as error:
        raise InputFileError(f"{error}; {needed}") if info.cfa is not None else error from error
    found, expected = (f"{one.width} x {one.height} {one.cfa or one.domain}" for one in (output.info, info))
    if found != expected:
        raise InputFileError(
            f"{path}: has {found}, but {frame.path.name} has {expected}; export it uncropped, of the same kind and size"
        )
    return output.linear


def _made_of(output: str, frame: str) -> bool:
    return output.startswith(frame) and not output[len(frame) : len(frame) + 1].isalnum()
