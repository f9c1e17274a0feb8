"""Images as arrays: what a renderer returns and an encoder takes."""

import numpy as np
import numpy.typing as npt

from factory.common.errors import Failure
from factory.common.image_bytes import ImageFault, load_image
from factory.common.program import command

ImageArray = npt.NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""


def decode(data: bytes) -> ImageArray:
    """Return the pixels of an image stored by a build.

    Raises:
        Failure: The bytes are not an image.
    """
    try:
        return np.asarray(load_image(data).convert("RGB"))
    except ImageFault as fault:
        raise Failure(
            f"a stored image is damaged: {fault}; run `{command('verify OUT')}`"
        ) from None
