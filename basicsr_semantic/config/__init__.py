"""Option files: read safely, changed by the command line, checked against what they configure, prepared for a run."""
