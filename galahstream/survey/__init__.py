"""What is true of HERMES and GALAH: pure functions and tables."""
