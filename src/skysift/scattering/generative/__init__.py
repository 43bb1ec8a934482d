"""New fields that have given statistics."""
