"""burst_denoise: tripod RAW bursts in, a denoiser calibrated to one camera sensor out, with proof of what it gains.

The rooms, in the order in which data flows: `sensor` (what a frame is), `capture` (files to accepted bursts),
`learn` (bursts to a model), `apply` (model and new shot to a file), `judge` (methods and bursts to numbers),
`run` (whole jobs), and the door `cli`. A room imports only from rooms before it.
"""

from burst_denoise.errors import BurstDenoiseError

__all__ = ["BurstDenoiseError", "__version__"]
__version__ = "0.3.0"
