"""Everything Linnaeus can refuse to do, one class per cause.

    LinnaeusError                     what a user sees as one plain message, exit status 2
    ├── DataError                     the images or their labels
    │   ├── DataNotFoundError         no such file, folder or built-in data set
    │   ├── NoImagesError             nothing in it is a readable image
    │   ├── ClassesError              one class only, a class too small, names that do not match
    │   ├── SplitError                the rows cannot be divided as asked
    │   └── UnreadableImageError      one image cannot be decoded (quarantined in training, an error row in prediction)
    ├── ConfigError                   a setting that does not exist or does not fit
    │   └── RecipeError               no such recipe, or a page that is not one
    ├── RunError                      the folder of a run
    │   ├── RunExistsError            it is there already and --force was not given
    │   ├── RunNotFoundError          there is no run in this folder
    │   ├── OutputError               it cannot be written: permission, full disk
    │   └── CheckpointError           a checkpoint that is damaged or belongs to another config
    ├── BundleError                   a model folder that is incomplete, damaged or too new
    ├── ModelError                    no such architecture, one that cannot take this image size, weights of another
    │   └── WeightsNotFoundError      no pretrained weights on this machine
    ├── DeviceError                   a device or precision that this machine does not have
    └── TrainingError                 training cannot go on (the loss is no longer a number)

    Interrupted                       Ctrl-C or SIGTERM after the state was saved; exit status 130

Messages say what is wrong, where (file, row, column) and what to do about it. Nothing here imports
anything but the standard library.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LinnaeusError(Exception):
    """Base of every error a user can cause and mend; printed without a traceback."""


class DataError(LinnaeusError):
    """Something about the images or their labels."""


class DataNotFoundError(DataError):
    """No such file, folder or built-in data set."""


class NoImagesError(DataError):
    """Nothing in the data is a readable image."""


class ClassesError(DataError):
    """One class only, a class too small, or class names that do not match."""


class SplitError(DataError):
    """The rows cannot be divided as asked."""


class UnreadableImageError(DataError):
    """One image cannot be decoded."""


class ConfigError(LinnaeusError):
    """A setting that does not exist or a value that does not fit."""


class RecipeError(ConfigError):
    """No such recipe, or a file that is not one."""


class RunError(LinnaeusError):
    """Something about the folder of a run."""


class RunExistsError(RunError):
    """The run folder is there already and may not be replaced."""


class RunNotFoundError(RunError):
    """There is no run in this folder."""


class OutputError(RunError):
    """A file of the run cannot be written."""


class CheckpointError(RunError):
    """A checkpoint that is damaged or belongs to another config."""


class BundleError(LinnaeusError):
    """A model folder that is incomplete, damaged or of a newer format."""


class ModelError(LinnaeusError):
    """No such architecture, one that cannot take this input, or weights that belong to another."""


class WeightsNotFoundError(ModelError):
    """No pretrained weights on this machine."""


class DeviceError(LinnaeusError):
    """A device or precision that this machine does not have."""


class TrainingError(LinnaeusError):
    """Training cannot go on."""


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked for it
    """The user stopped the run and its state was saved first; the message says how to go on."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'X'?`` for the closest known name, or an empty string if none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{matches[0]}'?" if matches else ""
