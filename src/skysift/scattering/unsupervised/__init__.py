"""Classes of fields by their statistics, without labels."""
