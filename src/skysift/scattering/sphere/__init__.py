"""Scattering statistics of fields on the sphere."""
