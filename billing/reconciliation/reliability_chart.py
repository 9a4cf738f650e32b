"""Draw reliability by day as one SVG that needs no other file, and no script, to be shown.

It is written by hand: the chart libraries that are light enough put a script into every picture.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from xml.etree import ElementTree as ET

from billing.inbox.webhook_event import Source
from billing.reconciliation.reliability import ALERT_BELOW_PERCENT, Day, is_low, reliability

MEDIA_TYPE = "image/svg+xml"
_NOUNS = {Source.VAPI: "calls", Source.STRIPE: "payments"}
# In pixels: the plot, a column a day, and below it a row for each number of a day.
_LEFT, _TOP, _PLOT, _COLUMN, _ROW = 84, 64, 180, 42, 18
_NARROWEST = 560
_INK, _FAINT, _GOOD, _BAD = "#1f2933", "#cbd2d9", "#1565c0", "#c62828"


def draw(days: Sequence[Day], source: Source, org_id: str | None) -> str:
    """Return an SVG of the days that were looked at, with gaps between them and a line at 95 %.

    The scale begins at the ten below the worst day, 90 at most, as its labels say.
    """
    by_date = {date.fromisoformat(day.day): day for day in days}
    dates = list(_all_between(by_date))
    about = org_id or "all organisations"
    title = f"Webhooks of {source.capitalize()} that arrived, by day: {about}"
    svg = _canvas(max(_LEFT + _COLUMN * len(dates) + 24, _NARROWEST), title, _summary(days, source))
    if not days:
        _write(svg, _LEFT, _TOP + _PLOT // 2, "No reconciliation has looked at these days yet.")
        return _rendered(svg)
    floor = min(90, min(int(day.reliability_percent) for day in days) // 10 * 10)
    _grid(svg, floor, _LEFT + _COLUMN * len(dates))
    _curve(svg, [by_date.get(one) for one in dates], floor)
    _headings(svg, source)
    for number, one in enumerate(dates):
        _column(svg, _middle(number), one, by_date.get(one), floor)
    return _rendered(svg)


def _all_between(dates: Sequence[date] | dict[date, Day]) -> Iterator[date]:
    for number in range((max(dates) - min(dates)).days + 1 if dates else 0):
        yield min(dates) + timedelta(days=number)


def _canvas(width: int, title: str, summary: str) -> ET.Element:
    height = _TOP + _PLOT + 5 * _ROW + 12
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "role": "img",
            "aria-labelledby": "title summary",
            "font-family": "sans-serif",
            "font-size": "11",
            "fill": _INK,
        },
    )
    ET.SubElement(svg, "title", {"id": "title"}).text = title
    ET.SubElement(svg, "desc", {"id": "summary"}).text = summary
    ET.SubElement(svg, "rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    _write(svg, 16, 24, title, **{"font-size": "15", "font-weight": "bold"})
    _write(svg, 16, 42, summary)
    return svg


def _summary(days: Sequence[Day], source: Source) -> str:
    checked, missing = sum(day.checked for day in days), sum(day.missing for day in days)
    low = sum(is_low(day.checked, day.missing) for day in days)
    whole = f"{checked:,} {_NOUNS[source]}, {missing:,} missed: {reliability(checked, missing)} %"
    return f"{whole}; {low} of {len(days)} days below {ALERT_BELOW_PERCENT} %"


def _grid(svg: ET.Element, floor: int, right: int) -> None:
    for percent in {*range(floor, 101, 10), ALERT_BELOW_PERCENT, 100}:
        is_limit = percent == ALERT_BELOW_PERCENT
        y = str(_y(percent, floor))
        line = {"x1": str(_LEFT), "x2": str(right), "y1": y, "y2": y}
        how = {"stroke": _BAD, "stroke-dasharray": "6 4"} if is_limit else {"stroke": _FAINT}
        ET.SubElement(svg, "line", line | how)
        label = {"text-anchor": "end", "fill": _BAD if is_limit else _INK}
        _write(svg, _LEFT - 8, _y(percent, floor) + 4, f"{percent} %", **label)


def _curve(svg: ET.Element, days: Sequence[Day | None], floor: int) -> None:
    """Draw a line through the days. A day that nobody looked at leaves a gap."""
    path, is_down = [], False
    for number, day in enumerate(days):
        if day is not None:
            point = f"{_middle(number)} {_y(float(day.reliability_percent), floor)}"
            path.append(f"{'L' if is_down else 'M'} {point}")
        is_down = day is not None
    line = {"fill": "none", "stroke": _GOOD, "stroke-width": "1.5"}
    ET.SubElement(svg, "path", {"d": " ".join(path), **line})


def _headings(svg: ET.Element, source: Source) -> None:
    for number, heading in enumerate(("day (UTC)", "arrived, %", _NOUNS[source], "missed"), 1):
        _write(svg, _LEFT - 8, _row(number), heading, **{"text-anchor": "end"})


def _column(svg: ET.Element, x: int, one: date, day: Day | None, floor: int) -> None:
    """Draw one day: its point, and its numbers below."""
    group = ET.SubElement(svg, "g", {"text-anchor": "middle"})
    _write(group, x, _row(1), f"{one:%m-%d}")
    if day is None:
        ET.SubElement(group, "title").text = f"{one}: not looked at"
        return
    percent, low = day.reliability_percent, is_low(day.checked, day.missing)
    title = f"{day.day}: {percent} % of {day.checked:,} arrived, {day.missing:,} missed"
    ET.SubElement(group, "title").text = title
    colour, y = _BAD if low else _GOOD, _y(float(percent), floor)
    ET.SubElement(group, "circle", {"cx": str(x), "cy": str(y), "r": "4", "fill": colour})
    strong = {"fill": _BAD, "font-weight": "bold"} if low else {}
    _write(group, x, _row(2), f"{percent}", **strong)
    _write(group, x, _row(3), f"{day.checked:,}")
    _write(group, x, _row(4), f"{day.missing:,}", **strong)


def _middle(number: int) -> int:
    return _LEFT + _COLUMN * number + _COLUMN // 2


def _y(percent: float, floor: int) -> float:
    return round(_TOP + _PLOT * (100 - percent) / (100 - floor), 1)


def _row(number: int) -> int:
    return _TOP + _PLOT + 8 + _ROW * number


def _write(parent: ET.Element, x: int, y: float, content: str, **attributes: str) -> None:
    ET.SubElement(parent, "text", {"x": str(x), "y": str(y), **attributes}).text = content


def _rendered(svg: ET.Element) -> str:
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"
