"""The model file: one safetensors file, weights and a JSON header (`ModelHeader`) that says which sensor it belongs to.

It also holds the places of that sensor's defective photosites. No pickle is read or written: a model file cannot run
code.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from burst_denoise import __version__
from burst_denoise.burst.burst import Burst
from burst_denoise.errors import ConfigError, InputFileError, ModelFileError
from burst_denoise.files import write_file
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.io.limits import MAX_MEGAPIXELS, refuse_claim, refuse_special_file
from burst_denoise.model.network import FrequencySplitResNet, build_network
from burst_denoise.schemas import FrameInfo, ModelHeader, NoiseProfile, TrainingRecord
from burst_denoise.sensor.identity import Sensor
from burst_denoise.sensor.noise_model import extrapolate_profile, interpolate_profile
from burst_denoise.sensor.verdict import calibration_verdict

__all__ = ["Model", "load_model", "model_of", "weights_digest"]

HEADER, HEADER_DIGEST = "burst_denoise", "header_sha256"
DEFECTS = "defects"


@dataclass(frozen=True)
class Model:
    """A calibrated denoiser: a network and the sensor it belongs to."""

    network: FrequencySplitResNet
    header: ModelHeader
    defects: npt.NDArray[np.int32] | None = field(default=None, compare=False)
    """(K, 2) rows and columns of the sensor's defective photosites, or (K, 3) planes, rows and columns of pictures."""

    @property
    def sensor(self) -> Sensor:
        """The sensor that it was calibrated for."""
        of = self.header
        shape = of.defects_shape if of.size is None else of.size
        size = None if shape is None else (shape[-2], shape[-1])
        return Sensor(of.camera, Mosaic(of.domain, of.cfa), size, of.black_level, of.white_level)

    @property
    def verdict(self) -> list[str]:
        """Whether its calibration pays, and what its sensor has that the prior does not know, in sentences.

        Empty for a model that was trained from scratch or is too old.
        """
        return calibration_verdict(self.header.training)

    def save(self, path: Path | str) -> None:
        """Write the model file; `OutputError` if it exists or cannot be written."""
        header = self.header.model_dump_json()
        # safetensors refuses the channels_last layout.
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        if self.defects is not None:
            tensors[DEFECTS] = torch.from_numpy(self.defects)
        write_file(Path(path), save(tensors, {HEADER: header, HEADER_DIGEST: _sha256(header.encode())}))

    @property
    def defect_map(self) -> npt.NDArray[np.bool_] | None:
        """Where frames of `ModelHeader.defects_shape` are defective; None where no map is known."""
        if self.defects is None or self.header.defects_shape is None:
            return None
        mask = np.zeros(self.header.defects_shape, np.bool_)
        mask[tuple(self.defects.T)] = True
        return mask

    def profile_for(self, info: FrameInfo, name: str, *, any_sensor: bool = False) -> NoiseProfile:
        """Return the noise profile for a shot, or refuse a shot the model was not calibrated for.

        Parameters
        ----------
        info : FrameInfo
            Of the shot.
        name : str
            The shot's file, for the message.
        any_sensor : bool
            Let it serve another camera or an ISO outside the calibrated span, with the profile scaled to that ISO.

        Raises
        ------
        ModelFileError
            If the domain does not fit, or, unless ``any_sensor``, camera, levels or ISO. If the shot does not say its
            ISO and the model has several.
        """
        header = self.header
        if info.domain != header.domain:
            raise ModelFileError(
                f"{name}: is {info.domain}, the model was calibrated on {header.domain}; use another model"
            )
        refusals = [] if any_sensor else Sensor.of(info).refusals(self.sensor)
        if refusals:
            raise ModelFileError(
                f"{name}: {refusals[0]} of the model; calibrate one for this sensor and mode, or override with "
                "--any-sensor"
            )
        try:
            return (extrapolate_profile if any_sensor else interpolate_profile)(header.profiles, info.iso)
        except ValueError as error:
            advice = "calibrate at this ISO too, or override with --any-sensor"
            if info.iso is None and len(header.profiles) > 1:
                advice = "name a model of one ISO"
            raise ModelFileError(f"{name}: {error}; {advice}") from error


def model_of(network: FrequencySplitResNet, bursts: Sequence[Burst], record: TrainingRecord) -> Model:
    """Return the model that training ``network`` on ``bursts`` of one sensor, pooled by ISO, has made.

    Its map of defects holds those of all bursts of the first one's size; there is none if no burst has one.
    """
    info = bursts[0].info
    shape = bursts[0].excluded.shape
    maps = [burst.defects for burst in bursts if burst.defects is not None and burst.defects.shape == shape]
    defects = np.ascontiguousarray(np.argwhere(np.logical_or.reduce(maps)), np.int32) if maps else None
    return Model(
        network,
        ModelHeader(
            preset=record.settings.preset,
            domain=info.domain,
            camera=info.camera,
            cfa=info.cfa,
            black_level=info.black_level,
            white_level=info.white_level,
            size=(info.height, info.width),
            profiles=tuple(sorted({b.profile.iso: b.profile for b in bursts}.values(), key=lambda p: p.iso or 0)),
            training=record,
            weights_sha256=weights_digest(network.state_dict()),
            defects_sha256=None if defects is None else _sha256(defects.tobytes()),
            defects_shape=None if defects is None else shape,
            version=__version__,
        ),
        defects,
    )


def load_model(path: Path, device: torch.device, *, max_megapixels: float = MAX_MEGAPIXELS) -> Model:
    """Read a model file and build its network on a device.

    Parameters
    ----------
    path : Path
    device : torch.device
    max_megapixels : float
        A model that claims to be of larger frames is refused, before a map of their defects is made.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, not a model of ours, of too large frames, or of another format version.
    """
    try:
        refuse_special_file(path)
        with safe_open(path, "pt") as handle:
            metadata = handle.metadata() or {}
            weights = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 (not a mapping)
    except InputFileError as error:
        raise ModelFileError(str(error)) from error
    except (SafetensorError, OSError) as error:
        what = "is missing" if not path.exists() else f"is not a readable model file ({error})"
        raise ModelFileError(f"{path}: {what}; name a file made by calibrate or train") from error
    if HEADER not in metadata:
        raise ModelFileError(
            f"{path}: holds tensors but no burst_denoise header; name a file made by calibrate or train"
        )
    if metadata.get(HEADER_DIGEST) != _sha256(metadata[HEADER].encode()):
        raise ModelFileError(f"{path}: header differs from what was written; the file is damaged, calibrate again")
    try:
        header = ModelHeader.parse(metadata[HEADER], str(path))
        for shape in (header.size, header.defects_shape):
            if shape is not None:
                refuse_claim(path, shape[-2], shape[-1], max_megapixels)
    except ConfigError as error:
        raise ModelFileError(f"{error}; the model is damaged or of another version, calibrate again") from error
    except InputFileError as error:
        raise ModelFileError(str(error)) from error
    places = weights.pop(DEFECTS, None)
    defects = None if places is None else places.numpy()
    digest = None if defects is None else _sha256(defects.tobytes())
    if digest != header.defects_sha256 or not _fits(defects, header):
        raise ModelFileError(f"{path}: map of defects differs from what was written; it is damaged, calibrate again")
    if weights_digest(weights) != header.weights_sha256:
        raise ModelFileError(f"{path}: weights differ from what was written; the file is damaged, calibrate again")
    network = build_network(header.preset, len(Mosaic.PLANES[header.domain]))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFileError(f"{path}: weights do not fit the {header.preset} network; calibrate again") from error
    return Model(network.to(device).eval(), header, defects)


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a network's weights, hexadecimal: which network it is."""
    parts = (name.encode() + weights[name].cpu().contiguous().numpy().tobytes() for name in sorted(weights))
    return _sha256(b"".join(parts))


def _fits(defects: npt.NDArray[np.int32] | None, header: ModelHeader) -> bool:
    if defects is None or header.defects_shape is None:
        return defects is None and header.defects_shape is None
    shape = header.defects_shape
    return defects.ndim == 2 and defects.shape[1] == len(shape) and bool(((defects >= 0) & (defects < shape)).all())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
