"""Statistical separation of a signal of unknown statistics from a contamination of known ones."""
