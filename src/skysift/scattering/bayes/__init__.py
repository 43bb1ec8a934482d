"""The posterior of the statistics of a signal that is seen through a contamination."""
