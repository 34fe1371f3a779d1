"""Objects of large scenes into the image cache, against opening and decoding the scene for every object.

    LINNAEUS_DATA=FOLDER python benchmarks/scene_crops.py [OBJECTS_DECODED_SINGLY]

FOLDER/bccd holds blood smears with Pascal VOC boxes. Nine at a time are pasted into 40 uncompressed RGB TIFFs of
1920x1440, in a temporary folder, with their 4,800 boxes in xView's format. Claim: cached as 64 px crops at least 20
times as fast as `read_image(scene, box)` for each object, of which evenly spaced ones are timed (200 unless told), both
in one thread. Reading the GeoJSON and the headers is timed apart.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.images.decode import read_image
from linnaeus.data.sources import read_source
from linnaeus.data.sources.voc import read_voc

SPEC = ImageSpec(64, 64)
TYPE_IDS = {"RBC": 73, "WBC": 18, "Platelets": 15}


def write_scenes(bccd: Path, out: Path) -> None:
    smears = read_voc(bccd)
    assert smears.boxes is not None
    boxes_of: dict[str, list[tuple[int, list[int]]]] = {}
    for uri, target, box in zip(smears.uris.to_pylist(), smears.targets, smears.boxes.tolist(), strict=True):
        boxes_of.setdefault(uri, []).append((TYPE_IDS[smears.classes[target]], box))
    pages = sorted(boxes_of)
    (out / "train_images").mkdir()
    features = []
    for scene in range(len(pages) // 9):
        canvas = Image.new("RGB", (1920, 1440))
        for cell, page in enumerate(pages[9 * scene : 9 * scene + 9]):
            left, top = 640 * (cell % 3), 480 * (cell // 3)
            canvas.paste(Image.open(page).convert("RGB"), (left, top))
            for type_id, (x0, y0, x1, y1) in boxes_of[page]:
                bounds = f"{x0 + left},{y0 + top},{x1 + left},{y1 + top}"
                features.append(
                    {"properties": {"bounds_imcoords": bounds, "image_id": f"{scene}.tif", "type_id": type_id}}
                )
        canvas.save(out / "train_images" / f"{scene}.tif")
    (out / "xView_train.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    (out / "class_labels.txt").write_text("".join(f"{number}:{name}\n" for name, number in TYPE_IDS.items()))


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "scenes"
        data.mkdir()
        write_scenes(Path(os.environ["LINNAEUS_DATA"]) / "bccd", data)
        start = time.perf_counter()
        manifest = read_source(str(data))
        print(f"{len(manifest):,} boxes in {len(set(manifest.uris.to_pylist()))} scenes, ", end="")
        print(f"read in {time.perf_counter() - start:.2f} s")

        start = time.perf_counter()
        cached = open_cache(manifest, SPEC, folder=Path(folder) / "caches", threads=1)
        together = (time.perf_counter() - start) / len(manifest)
        assert cached.readable.all() and manifest.boxes is not None

        rows = np.linspace(0, len(manifest) - 1, most).astype(np.int64)
        start = time.perf_counter()
        for row in rows.tolist():
            crop = SPEC.fit(read_image(manifest.uris[row].as_py(), manifest.boxes[row].tolist()))
            assert np.array_equal(crop, cached.pixels[row]), manifest.ids[row]
        singly = (time.perf_counter() - start) / len(rows)
        print(f"cached: {1e3 * together:.2f} ms per object, {together * len(manifest):.1f} s in all")
        print(
            f"a scene decoded for each object: {1e3 * singly:.2f} ms per object, {singly * len(manifest):.0f} s in all"
        )
        print(f"ratio {singly / together:.0f} (claim: at least 20)")


if __name__ == "__main__":
    main()
