"""Charts as SVG without scripts, whose colours the page decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, BAR_HEIGHT, MARGIN_HEIGHT, TIMES_HEIGHT = 400, 22, 40, 220
"""Size in pixels of charts on a wide page."""
LABEL_CHARS = 19
"""Length of a label; longer ones are cut."""
MAX_TIME_LABELS, MAX_NUMBERS = 3, 4


def bar_chart(labels: Sequence[str], counts: Sequence[int]) -> str:
    """Return horizontal bars, the first at the top."""
    import pygal

    height = BAR_HEIGHT * len(labels) + MARGIN_HEIGHT
    chart = pygal.HorizontalBar(**_options(height))
    chart.x_labels = [_cut(label) for label in reversed(labels)]
    chart.add("", list(reversed(counts)))
    return _svg(chart)


def time_chart(labels: Sequence[str], counts: Sequence[int]) -> str:
    """Return vertical bars for times, some of which are labelled."""
    import pygal

    every = max(-(-len(labels) // MAX_TIME_LABELS), 1)
    chart = pygal.Bar(**_options(TIMES_HEIGHT), show_minor_x_labels=False, x_label_rotation=0)
    chart.x_labels, chart.x_labels_major = list(labels), list(labels)[::every]
    chart.add("", list(counts))
    return _svg(chart)


def _options(height: int) -> dict[str, Any]:
    from pygal.style import Style

    text, line, bar = "var(--text)", "var(--line)", "var(--class-4)"
    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground=text,
        foreground_strong=text,
        foreground_subtle=line,
        colors=(bar,),
        opacity="1",
        opacity_hover=".8",
        transition="0s",
        font_family="inherit",
        **dict.fromkeys(("label_font_size", "major_label_font_size"), 12),
        **dict.fromkeys(("guide_stroke_color", "major_guide_stroke_color"), line),
        **dict.fromkeys(("guide_stroke_dasharray", "major_guide_stroke_dasharray"), "none"),
    )
    return {
        "style": style,
        "width": WIDTH,
        "height": height,
        "js": (),
        "show_legend": False,
        "disable_xml_declaration": True,
        "margin": 4,
        "spacing": 8,
        "value_formatter": "{:,.0f}".format,
        "include_x_axis": True,
        "truncate_label": -1,
        "max_scale": MAX_NUMBERS,
        "min_scale": 2,
        "no_data_text": "",
    }


def _svg(chart: Any) -> str:
    """Return a chart without the scripts for tooltips, and without what only they use."""
    from xml.etree.ElementTree import tostring

    root = chart.render_tree()
    for parent in list(root.iter()):
        for child in list(parent):
            tag = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else "comment"
            if tag in {"script", "desc", "comment"} or child.get("class") == "plot overlay":
                parent.remove(child)
    return tostring(root, encoding="unicode")


def _cut(label: str) -> str:
    return label if len(label) <= LABEL_CHARS else f"{label[: LABEL_CHARS - 1]}…"
