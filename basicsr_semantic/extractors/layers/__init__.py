"""What two extractors share."""
