"""Our pool of threads for threadpoolctl, which scikit-learn limits the threads of other libraries with."""

from __future__ import annotations

from convnet.core.threads import get_num_threads, set_num_threads
from convnet.core.version import __version__, to_install

try:
    import threadpoolctl
except ImportError as error:
    raise ImportError(f"convnet.estimator needs threadpoolctl ({error}): {to_install('sklearn')}") from None

__all__ = ["PoolController"]


class PoolController(threadpoolctl.LibController):  # type: ignore[misc]
    """Lets threadpoolctl see and limit the library's threads: ``with threadpool_limits(1): ...``.

    The pool is one for the whole process, and so is its limit. Importing `convnet.estimator` registers the controller.
    """

    user_api = internal_api = "convnet"
    # threadpoolctl goes through the files that the process has loaded, and finds ours by name and symbol.
    filename_prefixes = ("_kernels",)
    check_symbols = ("__pyx_module_is_main_convnet___kernels",)

    def get_num_threads(self) -> int:
        """Return how many threads a computation uses at most."""
        return get_num_threads()

    def set_num_threads(self, num_threads: int) -> None:
        """Set how many threads a computation uses at most, in the whole process."""
        set_num_threads(num_threads)

    def get_version(self) -> str:
        """Return the version of the package."""
        return __version__


threadpoolctl.register(PoolController)
