"""Archives of other forms -> the LMDBs that data sets read."""
