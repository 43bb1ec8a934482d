"""The command line: the only place that configures JAX, logging and progress."""

from skysift.cli.app import main as main
