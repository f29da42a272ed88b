"""Figure of a profile: where the time of a network goes."""

from typing import TYPE_CHECKING

from convnet.models.profile import Profile
from convnet.plotting.figures import AxesArgument, panels_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_profile"]

FORWARD = "#4c72b0"
BACKWARD = "#dd8452"


def plot_profile(profile: Profile, *, ax: AxesArgument = None) -> "Figure":
    """Draw a bar for each stage: its time forward and backward, with the share of the peak that it reaches.

    Parameters
    ----------
    profile : Profile
        From ``model.plan().profile(x, labels)``.
    ax : Axes, optional
        Where to draw, such as a panel of a figure of your own; by default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    if not isinstance(profile, Profile):
        raise TypeError(f"plot_profile: expected what model.plan().profile(x) returns, got {profile!r:.60}")
    stages = profile.stages
    figure, (axes,) = panels_for("plot_profile", ax, (8, 1.4 + 0.45 * len(stages)))
    left = [0.0] * len(stages)
    for what, colour in (("forward", FORWARD), ("backward", BACKWARD)):
        times = [getattr(stage, what) * 1e3 for stage in stages]
        if any(times):
            axes.barh(range(len(stages)), times, left=left, color=colour, label=what)
        left = [start + more for start, more in zip(left, times, strict=True)]
    for place, (stage, end) in enumerate(zip(stages, left, strict=True)):
        flop = stage.forward_flop + stage.backward_flop
        share = profile.share_of_peak(stage.forward + stage.backward, flop)
        axes.text(end, place, "" if share is None else f" {share:.0%} of peak", va="center", fontsize=9)
    axes.set_yticks(range(len(stages)), [f"{stage.name}\n{stage.algorithm}" for stage in stages], fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set(title=f"{profile.title}; {profile.threads} threads", xlabel="ms")
    axes.legend(loc="lower right")
    return figure
