"""Heat maps on demand: where the model looks in one image of a review."""

from __future__ import annotations

import copy
import dataclasses
import io
import threading
from collections.abc import Callable

from PIL import Image

from linnaeus.analysis.explain import explain_image, overlay
from linnaeus.bundle import Bundle
from linnaeus.data.images.decode import read_image
from linnaeus.review.session import Session


def heat_of(session: Session) -> Callable[[int], bytes]:
    """A function from row to a PNG of the image, as the network gets it, under the heat for its most probable class.

    It works on a copy of the network of its own, because features may be computed with the other one meanwhile. It
    raises UnreadableImageError for an image that cannot be decoded, ModelError for a network without heat maps.
    """
    lock = threading.Lock()
    copies: list[Bundle] = []

    def heat(row: int) -> bytes:
        with lock:
            if not copies:
                classifier = copy.deepcopy(session.bundle.classifier)
                copies.append(dataclasses.replace(session.bundle, classifier=classifier))
            box = None if session.manifest.boxes is None else session.manifest.boxes[row].tolist()
            found = explain_image(copies[0], read_image(session.manifest.uris[row].as_py(), box))
        file = io.BytesIO()
        Image.fromarray(overlay(found.fitted, found.heat)).save(file, "png")
        return file.getvalue()

    return heat
