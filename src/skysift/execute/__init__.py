"""Many independent tasks: in this process, in several, on a cluster."""

from skysift.execute.cluster import Dask as Dask
from skysift.execute.distributed import Share as Share
from skysift.execute.distributed import distributed as distributed
from skysift.execute.parse import parse_executor as parse_executor
from skysift.execute.processes import Processes as Processes
from skysift.execute.serial import Serial as Serial
from skysift.execute.site import Site as Site
from skysift.execute.slurm import Slurm as Slurm
from skysift.execute.tasks import AbstractExecutor as AbstractExecutor
from skysift.execute.tasks import Outcome as Outcome
