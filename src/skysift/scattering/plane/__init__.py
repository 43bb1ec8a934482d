"""Scattering statistics of fields on flat grids of one, two or three dimensions."""
