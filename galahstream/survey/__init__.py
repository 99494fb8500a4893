"""Facts about GALAH and its spectrograph HERMES, as pure functions and tables."""
