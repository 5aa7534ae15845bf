"""The table that `oracle.py` writes and the other scripts read: one row per removal set."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from exhaustive import set_of
from numpy.typing import NDArray

from lambda_nas.models.removal import RemovalSet

Floats = NDArray[np.float32]
Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class OracleTable:
    """What is known of every set, by code (`benchmarks.exhaustive`).

    Attributes:
        about: Model, data, numbers of images, device, and how long it took.
        layers: Layers that may be removed.
        removal_hits: `[sets, bytes]`, one bit per evaluation image: right under plain removal?
        transplant_hits: The same after the transplant; no rows where it was not run.
        relative_entropy: `[sets]`, nats, calibration images, plain removal.
        transfer_entropy: `[sets]`, nats, at the head, signed.
        agreement: `[sets]`, share of calibration images with the unpruned model's prediction.
        feature_error: `[sets]`, mean squared error of what the head reads, over its variance.
    """

    about: dict[str, object]
    layers: tuple[int, ...]
    removal_hits: Bits
    transplant_hits: Bits
    relative_entropy: Floats
    transfer_entropy: Floats
    agreement: Floats
    feature_error: Floats

    def save(self, path: Path) -> None:
        """Write the table whole or not at all."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays |= {"about": json.dumps(self.about), "layers": list(self.layers)}
        scratch = path.with_suffix(".tmp.npz")
        np.savez_compressed(scratch, **arrays)
        scratch.replace(path)

    @classmethod
    def load(cls, path: Path) -> "OracleTable":
        """Read a table; nothing in it is unpickled."""
        with np.load(path, allow_pickle=False) as arrays:
            values = {field.name: arrays[field.name] for field in fields(cls)}
        about = json.loads(str(values.pop("about")))
        layers = tuple(map(int, values.pop("layers")))
        return cls(about=about, layers=layers, **values)

    @property
    def sets(self) -> list[RemovalSet]:
        """All removal sets, by code."""
        return [set_of(code, self.layers) for code in range(1 << len(self.layers))]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """`[sets]`, the number of layers removed."""
        return np.array([code.bit_count() for code in range(1 << len(self.layers))])

    @property
    def repairs(self) -> tuple[str, ...]:
        """The ways to remove that were measured."""
        return ("removal", "transplant") if len(self.transplant_hits) else ("removal",)

    def hits(self, repair: str) -> NDArray[np.bool_]:
        """Return `[sets, images]`: right after `removal` or `transplant`?"""
        hits = self.removal_hits if repair == "removal" else self.transplant_hits
        images = int(str(self.about["evaluation_images"]))
        return np.unpackbits(hits, axis=1, count=images).astype(bool)

    def accuracy(self, repair: str) -> NDArray[np.float64]:
        """Return `[sets]` top-1 after `removal` or `transplant`."""
        return np.asarray(self.hits(repair).mean(1))
