"""Experiments: what to do, as frozen dataclasses that are YAML files and command lines too.

`config` says what, `text` reads and writes it, `problem` turns it into arrays, `fingerprint` tells
whether it has been done before, `memory` what it will take.
"""

from skysift.experiment.config import BenchExperiment as BenchExperiment
from skysift.experiment.config import Experiment as Experiment
from skysift.experiment.config import PredictExperiment as PredictExperiment
from skysift.experiment.config import ResampleExperiment as ResampleExperiment
from skysift.experiment.config import SeparateExperiment as SeparateExperiment
from skysift.experiment.config import SimulateExperiment as SimulateExperiment
from skysift.experiment.config import StatisticsExperiment as StatisticsExperiment
from skysift.experiment.config import SynthesisExperiment as SynthesisExperiment
from skysift.experiment.config import TrainExperiment as TrainExperiment
from skysift.experiment.config import UnmixingExperiment as UnmixingExperiment
from skysift.experiment.text import from_mapping as from_mapping
from skysift.experiment.text import load as load
from skysift.experiment.text import to_text as to_text
