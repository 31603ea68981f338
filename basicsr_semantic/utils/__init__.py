"""What every room may import: errors in sentences, files that are whole or not there."""
