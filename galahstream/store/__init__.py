"""What lies on disk: the two store formats and what reads them."""
