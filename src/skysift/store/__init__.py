"""Maps in FITS files, results in NetCDF, runs in directories, tables of runs."""

from skysift.store.channels import read_channels as read_channels
from skysift.store.channels import write_channels as write_channels
from skysift.store.dataset import read_dataset as read_dataset
from skysift.store.dataset import write_dataset as write_dataset
from skysift.store.fits import Column as Column
from skysift.store.fits import Frame as Frame
from skysift.store.fits import MapFormat as MapFormat
from skysift.store.fits import Precision as Precision
from skysift.store.fits import read_map as read_map
from skysift.store.fits import write_columns as write_columns
from skysift.store.fits import write_map as write_map
from skysift.store.fits import write_mask as write_mask
from skysift.store.run import Run as Run
from skysift.store.table import RunsTable as RunsTable
