"""A board as a picture for a terminal: a head, the runs, four lanes of cards; nothing is ever wrapped.

Pure: an overview, a time and a size in, lines of text out. Text from the board cannot style itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from hermes_kanban_plugin.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hermes_kanban_plugin.maintenance.overview import Card, Lane, Overview, RunLine

LEAST_WIDTH, MOST_WIDTH = 60, 160
# A terminal that is narrower has no room for the assignees.
_ROOMY = 75
LEAST_HEIGHT = 16
_GAP = 2
_MARK = "> "
# Seconds: a lease this short is about to end; a worker this quiet is worth a look.
_SHORT_LEASE, _LONG_SILENCE = 20, 600
_LANE_STYLES = {"needs you": "red", "ready": "cyan", "waiting": "", "done": "green"}


class Frame(NamedTuple):
    """What is around the board: who dispatches it, which run is chosen, and what is said in the last line."""

    dispatcher: str
    serves: bool
    chosen: int | None = None
    message: str = ""
    keys: str = ""


class _Column(NamedTuple):
    """A column of a table: its head, its width (0: left out), and whether it stands at the right."""

    head: str
    width: int
    right: bool = False


def draw(seen: Overview, frame: Frame, now: int, width: int, height: int | None = None) -> Text:
    """Return the picture, at most ``width`` wide; with a ``height`` exactly that high, else as high as it needs.

    Args:
        seen: the board.
        frame: what is around it.
        now: epoch seconds.
        width: of the terminal, in cells.
        height: of the terminal, in lines; None shows every run and card that the overview holds.
    """
    width = max(LEAST_WIDTH, min(width, MOST_WIDTH))
    head, foot = _head(seen, frame, now, width), _foot(frame, width)
    room = None if height is None else max(LEAST_HEIGHT, height) - len(head) - len(foot) - 2
    most_runs = None if room is None else max(3, room // 2)
    runs = _runs(seen, frame.chosen, now, width, most_runs)
    left = None if room is None else room - len(runs)
    lanes = _lanes(seen.lanes, now, width, left)
    lines = [*head, Text(), *runs, Text(), *lanes]
    if height is not None:
        lines += [Text()] * (max(LEAST_HEIGHT, height) - len(lines) - len(foot))
    return Text("\n").join([*lines, *foot])


def _head(seen: Overview, frame: Frame, now: int, width: int) -> list[Text]:
    clock = output.moment(now)[11:]
    room = width - len(clock) - _GAP
    title = Text.assemble((output.clean(seen.board), "bold"), "  ", (frame.dispatcher, "" if frame.serves else "red"))
    lines = [Text("").join([_fit(title, room), Text(" " * _GAP), Text(clock, "dim")])]
    lines.append(_fit(Text(output.counted(seen.counts) or "no tasks", "dim"), width))
    if seen.paused is not None:
        since = output.span(seen.paused.since, now)
        text = f"paused {since} ago by {seen.paused.actor}: {seen.paused.value}; nothing new is started"
        lines.append(_fit(Text(output.clean(text), "yellow"), width))
    return lines


def _foot(frame: Frame, width: int) -> list[Text]:
    if not (frame.message or frame.keys):
        return []
    message = _fit(Text(output.clean(frame.message), "bold"), width)
    return [message, _fit(Text(frame.keys, "dim"), width)]


# --- runs ----------------------------------------------------------------------------------------------------------


def _runs(seen: Overview, chosen: int | None, now: int, width: int, most: int | None) -> list[Text]:
    if not seen.runs:
        return [Text("nothing runs", "dim")]
    columns = _run_columns(width)
    lines = [_line([Text(column.head, "bold") for column in columns], columns)]
    shown = _window(len(seen.runs), chosen or 0, None if most is None else max(1, most - 2))
    for index in shown:
        line = _line(_run_cells(seen.runs[index], now), columns)
        mark = Text(_MARK if index == chosen else " " * len(_MARK), "bold")
        line = Text("").join([mark, line[len(_MARK) :]])
        if index == chosen:
            line.stylize("reverse")
        lines.append(line)
    hidden = seen.running - len(shown)
    if hidden > 0:
        lines.append(Text(f"  and {hidden} more", "dim"))
    return lines


def _run_columns(width: int) -> list[_Column]:
    fixed = [
        _Column("  running", 12),
        _Column("run", 5, right=True),
        _Column("age", 7, right=True),
        _Column("beat", 7, right=True),
        _Column("lease", 8, right=True),
        _Column("assignee", 10 if width >= _ROOMY else 0),
    ]
    used = sum(column.width + _GAP for column in fixed if column.width)
    return [*fixed, _Column("title", width - used)]


def _run_cells(run: RunLine, now: int) -> list[Text]:
    silence = None if run.last_heartbeat_at is None else now - run.last_heartbeat_at
    beat = Text("-", "dim") if silence is None else Text(output.span(run.last_heartbeat_at, now))
    if silence is not None and silence >= _LONG_SILENCE:
        beat.stylize("red")
    return [
        Text(f"{' ' * len(_MARK)}{output.clean(run.task_id)}"),
        Text(str(run.run_id or "-")),
        Text(output.span(run.started_at, now) or "-"),
        beat,
        _lease(run, now),
        Text(output.clean(run.assignee or "-")),
        Text(output.clean(run.title)),
    ]


def _lease(run: RunLine, now: int) -> Text:
    if run.launching:
        return Text("starting", "cyan")
    if run.claim_expires is None:
        return Text("none", "red")
    left = run.claim_expires - now
    if left <= 0:
        return Text("expired", "red")
    return Text(output.span(now, run.claim_expires), "yellow" if left < _SHORT_LEASE else "")


def _window(total: int, chosen: int, most: int | None) -> range:
    """Return which rows are shown, so that the chosen one is among them."""
    if most is None or total <= most:
        return range(total)
    first = min(max(0, chosen - most // 2), total - most)
    return range(first, first + most)


# --- lanes ---------------------------------------------------------------------------------------------------------


def _lanes(lanes: Sequence[Lane], now: int, width: int, height: int | None) -> list[Text]:
    each = (width - _GAP * (len(lanes) - 1)) // len(lanes)
    columns = [_Column("", each)] * len(lanes)
    # A card takes two lines; one line is the head and one may say how many more there are.
    most = max((len(lane.cards) for lane in lanes), default=0)
    if height is not None:
        most = min(most, max(0, (height - 2) // 2))
    stacks = [_stack(lane, now, each, most) for lane in lanes]
    highest = max(len(stack) for stack in stacks)
    filled = [stack + [Text()] * (highest - len(stack)) for stack in stacks]
    return [_line(list(row), columns) for row in zip(*filled, strict=True)]


def _stack(lane: Lane, now: int, width: int, most: int) -> list[Text]:
    style = _LANE_STYLES.get(lane.name, "") if lane.total else "dim"
    lines = [Text(f"{lane.name} {lane.total}", f"bold {style}".strip())]
    for card in lane.cards[:most]:
        lines += _card(card, now, width)
    hidden = lane.total - min(most, len(lane.cards))
    if hidden > 0:
        lines.append(Text(f"and {hidden} more", "dim"))
    return lines


def _card(card: Card, now: int, width: int) -> list[Text]:
    age = output.span(card.since, now).partition(" ")[0]
    name = _fit(Text(output.clean(card.task_id), "dim"), width - len(age) - 1)
    top = Text("").join([name, Text(" " * max(1, width - name.cell_len - len(age))), Text(age, "dim")])
    return [top, Text(output.clean(card.title).replace("\n", " "))]


# --- cells ---------------------------------------------------------------------------------------------------------


def _line(cells: Sequence[Text], columns: Sequence[_Column]) -> Text:
    pairs = [(cell, column) for cell, column in zip(cells, columns, strict=True) if column.width]
    fitted = [_fit(cell, column.width, right=column.right) for cell, column in pairs]
    return Text(" " * _GAP).join(fitted)


def _fit(text: Text, width: int, *, right: bool = False) -> Text:
    """Return a text that takes exactly so many cells, cut with an ellipsis or filled with blanks."""
    fitted = text.copy()
    fitted.plain = fitted.plain.replace("\n", " ")
    fitted.truncate(width, overflow="ellipsis")
    missing = " " * (width - fitted.cell_len)
    return Text("").join([Text(missing), fitted] if right else [fitted, Text(missing)])
