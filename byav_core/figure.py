"""Figures to plot in, for machines that have matplotlib; nothing else here needs it."""


def new_figure(width: float, height: float):
    """A matplotlib Figure. width, height: in inches. Raises ValueError saying what to install."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("plots need the package matplotlib; install it with pip install matplotlib") from error
    return Figure(figsize=(width, height), layout="constrained")
