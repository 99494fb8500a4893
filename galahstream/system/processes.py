"""How worker processes start."""

import multiprocessing


def safe_start_method() -> str:
    """Return the fastest start method that does not fork this process.

    A forked child inherits the locks of threads that do not run in it.
    """
    methods = multiprocessing.get_all_start_methods()
    return "forkserver" if "forkserver" in methods else "spawn"
