"""What users of other libraries reported, tried as a user would; one file for each group."""
