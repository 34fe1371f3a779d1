"""The augmentation of the reference systems, by name, for whoever wants it with another network.

Each is that of the recipe of the same name. Knows nothing of images; `planning` lays a set below what was asked for.
"""

from __future__ import annotations

from typing import Any

REFERENCE_SETS: dict[str, dict[str, Any]] = {
    "c1": {"rotate_degrees": 15, "flip": "horizontal", "shift": 0.1, "fill": "border"},
    "m1": {
        "probability": 0.5,
        "distribution": "normal",
        "shift": 0.05,
        "rotate_degrees": 10,
        "scale": 0.1,
        "shear_degrees": 5,
        "flip": "horizontal",
        "noise": 0.03,
    },
    "p3": {
        "rotate_degrees": 30,
        "flip": "horizontal",
        "shift": 0.1,
        "scale": 0.2,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "noise": 0.03,
    },
    "u2": {"rotate_degrees": 36, "scale": 0.1},
    "x3": {"flip": "both", "rotate_degrees": 36, "scale": 0.1},
}
"""c1 (and C2): small photos; m1 (and all of M): photos, half of them changed; p3: plants from above; u2 (and U1):
places; x3 (and X4): things seen from above."""
