"""Types of arrays; what an array's axes, unit and range are, its docstring says."""

import numpy as np
import numpy.typing as npt

__all__ = ["Double", "Float", "Index", "Mask", "Picture", "UInt16"]

Float = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]
UInt16 = npt.NDArray[np.uint16]
Picture = npt.NDArray[np.uint8]
"""A developed picture, (H, W, 3) or (H, W), sRGB or grey."""
