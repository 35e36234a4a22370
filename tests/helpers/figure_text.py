"""The text of a figure."""


def figure_text(figure):
    """Return titles, annotations and free text of a figure."""
    parts = [text.get_text() for text in figure.texts]
    parts += [figure.get_suptitle()] + [t.get_text() for axes in figure.axes for t in axes.texts]
    return " ".join(parts + [axes.get_title() + axes.get_title(loc="left") for axes in figure.axes])
