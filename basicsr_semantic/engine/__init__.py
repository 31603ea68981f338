"""The run: pipeline, validation, seeding, freezing, checkpoints, processes, log."""
