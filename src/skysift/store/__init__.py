"""Maps in FITS files, results in NetCDF, runs in directories, tables of runs."""
