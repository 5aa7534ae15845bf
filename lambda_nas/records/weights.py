"""Where the weights of a study's trials lie, and what each file says about whose it is."""

import re
from dataclasses import dataclass
from pathlib import Path

from lambda_nas.models.architecture import Architecture

_NAME_LENGTH = 80
_UUID_LENGTH = 12


@dataclass(frozen=True)
class StudyWeights:
    """The folder of the weights of a study's trials, one file each.

    Attributes:
        folder: Its path.
        uuid: The study's.
    """

    folder: Path
    uuid: str

    @classmethod
    def below(cls, root: Path, study: str, uuid: str) -> "StudyWeights":
        """Return a study's folder directly below ``root``, whatever the study is called."""
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", study)[:_NAME_LENGTH].strip("-.")
        name = "-".join(filter(None, (readable, uuid[:_UUID_LENGTH])))
        return cls(root.absolute() / name, uuid)

    def file(self, trial: int) -> Path:
        """Return the path of a trial's weights."""
        return self.folder / file_name(trial)

    def delete(self, trial: int) -> None:
        """Delete a trial's weights, and what of them was being written."""
        for path in self.folder.glob(f"{Path(file_name(trial)).stem}.*"):
            path.unlink(missing_ok=True)

    def label(self, trial: int, architecture: Architecture) -> dict[str, str]:
        """Return the metadata of a trial's file, which say whose weights it holds."""
        return {
            "study": self.uuid,
            "trial": str(trial),
            "architecture": architecture.written(),
        }


def file_name(trial: int) -> str:
    """Return the name of the file of a trial's weights.

    >>> file_name(3)
    'trial-00003.safetensors'
    """
    return f"trial-{trial:05d}.safetensors"
