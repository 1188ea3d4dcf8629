/* The page "Kanban Health". Plain JavaScript on the globals that the dashboard offers to plugins; no build step.
 *
 * Text from the board (titles, reasons, output) only ever becomes a text node: nothing here writes HTML.
 * Every button sends what the page showed when it was drawn; the server does nothing if the board says otherwise now.
 */
(function () {
  "use strict";

  const SDK = window.__HERMES_PLUGIN_SDK__;
  if (!SDK || !window.__HERMES_PLUGINS__) return;

  // What colours a terminal, and what no eye sees or what lets a text be read in another order than it is written in.
  const COLOURS = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\))/g;
  const UNSEEN = /[\u0000-\u0008\u000e-\u001f\u007f-\u0084\u0086-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]/g;
  const shown = (text) => (typeof text === "string" ? text.replace(COLOURS, "").replace(UNSEEN, "\ufffd") : text);

  /** Make an element; every text on the page comes through here. */
  const h = (type, props, ...children) => SDK.React.createElement(type, props, ...children.map(shown));
  const { useState, useEffect, useRef, useCallback } = SDK.hooks;
  const API = "/api/plugins/hermes-kanban";
  const POLL_MS = 2000;
  const CHARTS_MS = 60000;
  const NEWS_MS = 15000;
  const PATIENCE_MS = 20000;

  /* ---- words ------------------------------------------------------------------------------------------------- */

  const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]];

  /** Return a duration in its two largest units, as the rest of the product says it. */
  function span(seconds) {
    if (seconds === null || seconds === undefined) return "–";
    const left = Math.max(0, Math.round(seconds));
    for (const [size, unit, smaller, part] of UNITS) {
      if (left >= size) {
        const rest = Math.floor((left % size) / smaller);
        return `${Math.floor(left / size)}${unit}${rest ? ` ${rest}${part}` : ""}`;
      }
    }
    return `${left}s`;
  }

  const ago = (now, then) => (then ? `${span(now - then)} ago` : "none yet");
  const megabytes = (bytes) => (bytes >= 1073741824 ? `${(bytes / 1073741824).toFixed(1)} GB` : `${Math.round(bytes / 1048576)} MB`);
  const plural = (n, one, many) => `${n} ${n === 1 ? one : many}`;
  const words = (name) => name.replaceAll("_", " ");
  const lasted = (run, now) => span((run.ended_at || now) - run.started_at);

  /** Return what a failed request means for the person who pressed the button. */
  function explain(problem) {
    if (problem instanceof TypeError || (problem && problem.name === "TimeoutError")) return "The dashboard does not answer.";
    const text = String((problem && problem.message) || problem);
    const found = text.match(/^(\d{3}): ([\s\S]*)$/);
    if (!found) return text;
    try {
      const { detail } = JSON.parse(found[2]);
      return typeof detail === "string" ? detail : found[2];
    } catch {
      return found[2];
    }
  }

  const query = (board) => (board ? `?board=${encodeURIComponent(board)}` : "");
  const ask = (path, board) => SDK.fetchJSON(API + path + query(board), { signal: AbortSignal.timeout(PATIENCE_MS) });
  const post = (path, body) =>
    SDK.fetchJSON(API + path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });

  /** Ask for something now and again and again while the page is seen; returns the answer and what went wrong. */
  function usePoll(path, board, every) {
    const about = path + query(board);
    const [state, setState] = useState({ about, data: null, problem: null });
    const again = useRef(() => {});
    useEffect(() => {
      let timer = null;
      let gone = false;
      // Answers may overtake each other; the last question is the one that counts.
      let asked = 0;
      const load = () => {
        clearTimeout(timer);
        const number = ++asked;
        const put = (next) => { if (!gone && number === asked) setState(next); };
        return ask(path, board)
          .then((data) => put({ about, data, problem: null }),
            // What is known of one board is not shown for another that cannot be read.
            (failed) => put((old) => ({ about, data: old.about === about ? old.data : null, problem: explain(failed) })))
          .finally(() => { if (!gone && number === asked && !document.hidden) timer = setTimeout(load, every); });
      };
      const seen = () => { if (document.hidden) clearTimeout(timer); else load(); };
      again.current = load;
      load();
      document.addEventListener("visibilitychange", seen);
      return () => { gone = true; clearTimeout(timer); document.removeEventListener("visibilitychange", seen); };
    }, [path, board, every]);
    return { ...state, reload: useCallback(() => again.current(), []) };
  }

  /* ---- pieces ------------------------------------------------------------------------------------------------ */

  function Act({ tone, label, name, disabled, onClick }) {
    return h("button", { type: "button", className: "hk-button", "data-tone": tone || "plain", disabled, onClick,
      "aria-label": name ? shown(`${label}: ${name}`) : undefined }, label);
  }

  function TaskLink({ id, title, onOpen }) {
    return h("button", { type: "button", className: "hk-link", onClick: () => onOpen(id) }, title || id);
  }

  function Card({ id, title, aside, children }) {
    return h("section", { className: "hk-card", "aria-labelledby": id },
      h("header", null, h("h2", { id, tabIndex: -1 }, title), aside || null), children);
  }

  // What can be typed begins with one of these; other advice is a sentence.
  const PROGRAM = /^(hermes|hermes-kanban|kill|pip|sqlite3|timedatectl) /;

  function Advice({ text }) {
    return PROGRAM.test(text) ? h(Command, { text }) : h("p", { className: "hk-quiet" }, text);
  }

  function Command({ text }) {
    const [copied, setCopied] = useState(false);
    const copy = () => navigator.clipboard.writeText(text).then(() => setCopied(true), () => {});
    useEffect(() => {
      if (!copied) return undefined;
      const timer = setTimeout(() => setCopied(false), 2000);
      return () => clearTimeout(timer);
    }, [copied]);
    return h("p", { className: "hk-command" },
      h("span", { className: "hk-mono" }, text),
      navigator.clipboard ? h(Act, { tone: "quiet", label: copied ? "Copied" : "Copy", name: copied ? "" : text, onClick: copy }) : null);
  }

  /* ---- the strip --------------------------------------------------------------------------------------------- */

  function Fact({ label, value, of, tone }) {
    return h("div", { className: "hk-fact", "data-tone": tone || "plain" },
      h("dt", null, label),
      h("dd", null, value, of ? h("span", { className: "hk-quiet" }, ` of ${of}`) : null));
  }

  function BoardChoice({ boards, board, onBoard }) {
    return h("label", { className: "hk-board" }, "Board",
      h("select", { value: board, onChange: (event) => onBoard(event.target.value) },
        boards.map((slug) => h("option", { key: slug, value: slug }, slug || "the current one"))));
  }

  function Strip({ data, onBoard }) {
    const { dispatcher, counts, limits, pause } = data;
    return h("section", { className: "hk-strip", "aria-label": "State of the board" },
      h("div", { className: "hk-line" },
        h("p", { className: "hk-dispatcher", "data-tone": dispatcher.tone },
          h("span", { className: "hk-dot", "aria-hidden": "true" }),
          h("strong", null, dispatcher.word), h("span", { className: "hk-quiet" }, dispatcher.rest)),
        data.boards.length > 1 ? h(BoardChoice, { boards: data.boards, board: data.board, onBoard }) : null),
      data.archived
        ? h("p", { className: "hk-pause" }, h("strong", null, "Archived"), ". No dispatcher serves this board any more.")
        : null,
      pause
        ? h("div", { className: "hk-pause" },
            h("p", null, h("strong", null, "Paused"), ` by ${pause.actor} ${ago(data.now, pause.since)}${pause.value ? `: ${pause.value}` : ""}. Nothing new is started.`),
            h(Command, { text: `hermes-kanban resume ${data.board}` }))
        : null,
      h("dl", { className: "hk-facts" },
        h(Fact, { label: "Needs you", value: data.needs_you, tone: data.needs_you ? "alert" : "good" }),
        h(Fact, { label: "Running", value: counts.running, of: limits.running }),
        h(Fact, { label: "Ready", value: counts.ready + counts.review }),
        h(Fact, { label: "Blocked", value: counts.blocked }),
        h(Fact, { label: "To do", value: counts.todo + counts.scheduled + counts.triage }),
        limits.per_profile ? h(Fact, { label: "At most per profile", value: limits.per_profile }) : null));
  }

  /* ---- what needs a person ----------------------------------------------------------------------------------- */

  function Item({ item, now, busy, onAct, onOpen }) {
    const { action } = item;
    return h("li", { className: "hk-item", "data-level": item.level },
      h("div", { className: "hk-item-text" },
        h("p", { className: "hk-item-title" },
          item.task_id ? h(TaskLink, { id: item.task_id, title: item.title, onOpen }) : h("strong", null, item.title),
          item.since ? h("span", { className: "hk-quiet hk-age" }, span(now - item.since)) : null),
        h("p", { className: "hk-reason" }, item.reason),
        item.also.map((sentence) => h("p", { className: "hk-reason hk-quiet", key: sentence }, sentence)),
        item.evidence.length
          ? h("dl", { className: "hk-evidence" }, item.evidence.map(([label, text]) =>
              h("div", { key: label }, h("dt", null, label), h("dd", null, text))))
          : null,
        item.command ? h(Advice, { text: item.command }) : null),
      action
        ? h(Act, { tone: item.level === "warning" ? "plain" : "main", label: action.label, name: item.title, disabled: busy,
            onClick: () => onAct(action, item.title) })
        : null);
  }

  function Attention({ data, busy, onAct, onBulk, onOpen }) {
    const items = data.attention;
    const list = (entries) => h("ul", { className: "hk-list" }, entries.map((item) =>
      h(Item, { key: item.key, item, now: data.now, busy, onAct, onOpen })));
    const more = data.needs_you - items.length;
    const aside = data.stale > 1
      ? h(Act, { tone: "main", label: `Reclaim all stale (${data.stale})`, disabled: busy, onClick: onBulk })
      : null;
    return h(Card, { id: "hk-attention", title: "Needs you", aside },
      items.length ? list(items) : h(AllWell, { data }),
      more > 0 ? h("p", { className: "hk-quiet" }, `And ${more} more: ${data.program} doctor`) : null,
      data.cut.length
        ? h("p", { className: "hk-quiet" }, `The board has more ${data.cut.join(" and ")} than are looked at one by one; the first ones were.`)
        : null,
      data.later_count
        ? h("details", { className: "hk-fold" },
            h("summary", null, `${plural(data.later_count, "task waits", "tasks wait")} for a person, without hurry`), list(data.later))
        : null);
  }

  function AllWell({ data }) {
    // Nobody may be told that all is well who was not told everything.
    if (data.cut.length || data.needs_you || data.counts.blocked) {
      return h("div", { className: "hk-well", "data-tone": "warn" },
        h("span", { className: "hk-check", "aria-hidden": "true" }, "!"),
        h("div", null, h("p", null, h("strong", null, "Nothing was found, but not everything was looked at.")),
          h("p", { className: "hk-quiet" }, data.counts.blocked ? `${plural(data.counts.blocked, "task is", "tasks are")} blocked.` : "There are too many tasks.")));
    }
    const what = data.unfinished ? `${plural(data.unfinished, "task is", "tasks are")} on the way.` : "The board has nothing to do.";
    return h("div", { className: "hk-well" },
      h("span", { className: "hk-check", "aria-hidden": "true" }, "✓"),
      h("div", null, h("p", null, h("strong", null, "All is well."), " Nothing needs you."), h("p", { className: "hk-quiet" }, what)));
  }

  function Waiting({ data, busy, onAct, onOpen }) {
    if (!data.waiting.length) return null;
    // By itself means by a dispatcher; a person can cut a wait short meanwhile, so that it starts with the first tick.
    const title = data.dispatcher.tone === "bad" ? "Starts when somebody dispatches" : "Starts by itself";
    return h(Card, { id: "hk-waiting", title },
      h("ul", { className: "hk-list" }, data.waiting.map((item) =>
        h("li", { key: item.task_id, className: "hk-item", "data-level": "info" },
          h("div", { className: "hk-item-text" },
            h("p", { className: "hk-item-title" }, h(TaskLink, { id: item.task_id, title: item.title, onOpen }),
              item.at ? h("span", { className: "hk-quiet hk-age" }, item.at > data.now ? `in ${span(item.at - data.now)}` : "now") : null),
            h("p", { className: "hk-reason" }, item.reason)),
          item.action
            ? h(Act, { label: item.action.label, name: item.title, disabled: busy, onClick: () => onAct(item.action, item.title) })
            : null))),
      data.waiting_count > data.waiting.length ? h("p", { className: "hk-quiet" }, `And ${data.waiting_count - data.waiting.length} more: ${data.program} list`) : null);
  }

  /* ---- running work ------------------------------------------------------------------------------------------ */

  const VERDICTS = { alive: "alive", dead: "gone", unknown: "not seen from here", starting: "is being started", terminal: "a terminal" };

  function Run({ run, now, busy, onStop, onOpen }) {
    const cell = (label, first, second, tone) =>
      h("td", { "data-label": label, "data-tone": tone }, h("span", null, first), second ? h("span", { className: "hk-quiet" }, second) : null);
    const over = run.lease_left !== null && run.lease_left <= 0;
    const use = run.cpu_percent === null ? "" : `CPU ${Math.round(run.cpu_percent)} %, ${megabytes(run.memory_bytes)}`;
    return h("tr", null,
      h("th", { scope: "row" }, h(TaskLink, { id: run.task_id, title: run.title, onOpen }),
        h("span", { className: "hk-quiet" }, `${run.assignee || "nobody"}${run.attempt > 1 ? `, attempt ${run.attempt}` : ""}`),
        run.loops ? h("span", { className: "hk-loop" }, `makes the same call again, ${run.loops} times by now`) : null),
      cell("Running for", span(run.started_at ? now - run.started_at : null)),
      cell("Lease left", run.lease_left === null ? "none" : over ? "over" : span(run.lease_left), null, over ? "bad" : undefined),
      cell("Heartbeat", ago(now, run.last_heartbeat_at), run.progress_at ? `progress ${ago(now, run.progress_at)}` : null),
      cell("Process", VERDICTS[run.verdict] + (run.pid ? `, pid ${run.pid}` : ""), use, run.verdict === "dead" ? "bad" : undefined),
      h("td", { className: "hk-end" }, h(Act, { label: "Stop", name: run.title, disabled: busy, onClick: () => onStop(run) })));
  }

  function Running({ data, busy, onStop, onOpen }) {
    const heads = ["Task", "Running for", "Lease left", "Heartbeat", "Process"];
    const hidden = data.counts.running - data.running.length;
    return h(Card, { id: "hk-running", title: "Running" },
      data.running.length
        ? h("table", { className: "hk-table" },
            h("thead", null, h("tr", null, heads.map((name) => h("th", { key: name, scope: "col" }, name)),
              h("th", { scope: "col" }, h("span", { className: "hk-hidden" }, "Action")))),
            h("tbody", null, data.running.map((run) =>
              h(Run, { key: `${run.task_id}:${run.run_id}`, run, now: data.now, busy, onStop, onOpen }))))
        : h("p", { className: "hk-quiet" }, data.counts.ready ? "Nothing runs at the moment." : "Nothing runs, and nothing is ready to."),
      hidden > 0 ? h("p", { className: "hk-quiet" }, `And ${hidden} more: ${data.program} list --status running`) : null);
  }

  /* ---- charts ------------------------------------------------------------------------------------------------ */

  const TALL = 56;

  function Chart({ label, slices, value, figure, detail, tone, scale }) {
    const highest = Math.max(1, ...slices.map(value));
    const width = 100 / slices.length;
    const text = `${label}: ${figure}${detail ? `, ${detail}` : ""}`;
    return h("figure", { className: "hk-chart", "data-tone": tone },
      h("figcaption", null, h("span", null, label), h("strong", null, figure)),
      h("svg", { role: "img", "aria-label": text, viewBox: `0 0 100 ${TALL}`, preserveAspectRatio: "none" },
        slices.map((slice, index) => {
          const amount = value(slice);
          const tall = amount ? Math.max(3, (amount / highest) * TALL) : 1;
          return h("rect", { key: slice.start, x: (index + 0.12) * width, width: width * 0.76, y: TALL - tall, height: tall, "data-empty": String(!amount) });
        })),
      h("p", { className: "hk-axis hk-quiet" }, h("span", null, scale === "day" ? "24h ago" : "7d ago"), h("span", null, "now")),
      h("p", { className: "hk-quiet hk-detail" }, detail || "\u00a0"));
  }

  function Charts({ board }) {
    const [scale, setScale] = useState("day");
    const { data, problem } = usePoll("/charts", board, CHARTS_MS);
    const choose = h("div", { role: "group", "aria-label": "Time shown", className: "hk-switch" },
      ["day", "week"].map((name) =>
        h("button", { key: name, type: "button", "aria-pressed": String(scale === name), onClick: () => setScale(name) }, `Last ${name}`)));
    return h(Card, { id: "hk-charts", title: "What happened", aside: choose },
      data ? h(ChartRow, { slices: data[scale], scale }) : h("p", { className: "hk-quiet" }, problem || "Counting …"));
  }

  function ChartRow({ slices, scale }) {
    const total = (value) => slices.reduce((sum, slice) => sum + value(slice), 0);
    const failed = (slice) => Object.values(slice.failures).reduce((sum, n) => sum + n, 0);
    const causes = {};
    slices.forEach(({ failures }) => Object.entries(failures).forEach(([cause, n]) => { causes[cause] = (causes[cause] || 0) + n; }));
    const named = Object.entries(causes).sort((a, b) => b[1] - a[1]).map(([cause, n]) => `${n} ${words(cause)}`).join(", ");
    const times = slices.map((slice) => slice.cycle_seconds).filter((one) => one !== null).sort((a, b) => a - b);
    const middle = times.length ? span(times[Math.floor((times.length - 1) / 2)]) : "–";
    const same = { slices, scale };
    return h("div", { className: "hk-charts" },
      h(Chart, { ...same, label: "Completed", tone: "good", value: (one) => one.completed, figure: `${total((one) => one.completed)}`, detail: "tasks done" }),
      h(Chart, { ...same, label: "Rescues", value: (one) => one.rescues, figure: `${total((one) => one.rescues)}`, detail: "lost, through no fault of the task" }),
      h(Chart, { ...same, label: "Failures", tone: "bad", value: failed, figure: `${total(failed)}`, detail: named }),
      h(Chart, { ...same, label: "Cycle time", value: (one) => one.cycle_seconds || 0, figure: middle, detail: "from first start to done, typical" }));
  }

  /* ---- dialogs ----------------------------------------------------------------------------------------------- */

  function Dialog({ title, onClose, children }) {
    const box = useRef(null);
    useEffect(() => {
      const before = document.activeElement;
      if (box.current && !box.current.open) box.current.showModal();
      return () => { if (before && before.isConnected) before.focus(); };
    }, []);
    const outside = (event) => { if (event.target === box.current) onClose(); };
    const escape = (event) => { event.preventDefault(); onClose(); };
    return h("dialog", { ref: box, className: "hk-dialog", "aria-label": shown(title), onCancel: escape, onClick: outside },
      h("div", { className: "hk-sheet" },
        h("header", null, h("h2", null, title),
          h("button", { type: "button", className: "hk-close", "aria-label": "Close", onClick: onClose }, "×")),
        children));
  }

  function Footer({ busy, label, tone, onConfirm, onClose }) {
    return h("footer", null, h(Act, { tone: "quiet", label: "Cancel", onClick: onClose }),
      h(Act, { tone, label, disabled: busy, onClick: onConfirm }));
  }

  function BulkDialog({ preview, busy, onConfirm, onClose }) {
    const { taken, doubtful } = preview;
    const rows = (found) => h("ul", { className: "hk-preview" }, found.map((one) =>
      h("li", { key: `${one.task_id}:${one.run_id}` }, h("strong", null, one.title), h("span", { className: "hk-quiet" }, `${one.run_id ? `run ${one.run_id}: ` : ""}${one.reason}`),
        one.then === "blocked" ? h("span", { className: "hk-loop" }, "is given up after too many failures and stays blocked until you unblock it") : null)));
    const gone = taken.filter((one) => one.then === "blocked").length;
    return h(Dialog, { title: `Reclaim ${plural(taken.length, "stale task", "stale tasks")}`, onClose },
      taken.length
        ? h("p", null, `Their runs are closed${gone === taken.length ? "." : gone ? `; ${taken.length - gone} of them go back to where they were taken from.` : " and they go back to where they were taken from."} What changes before you confirm is left alone.`)
        : h("p", null, "Nothing is proven stale any more."),
      rows(taken),
      doubtful.length ? h("p", { className: "hk-quiet" }, `In doubt and left alone; look again in a moment (${doubtful.length}):`) : null,
      rows(doubtful),
      taken.length
        ? h(Footer, { busy, tone: "main", label: `Reclaim ${plural(taken.length, "task", "tasks")}`, onConfirm, onClose })
        : null);
  }

  function StopDialog({ title, busy, onConfirm, onClose }) {
    return h(Dialog, { title: "Stop this task?", onClose },
      h("p", null, h("strong", null, title)),
      h("p", null, "A worker on it is ended, and the task stays blocked until you unblock it."),
      h(Footer, { busy, tone: "bad", label: "Stop it", onConfirm, onClose }));
  }

  const NEWEST = 8;

  function Timeline({ line }) {
    const [all, setAll] = useState(false);
    const { now } = line;
    if (!line.runs.length) return h("p", { className: "hk-quiet" }, "No attempt yet.");
    // The newest ones matter; hundreds of them must not push the output out of sight.
    const runs = all ? line.runs : line.runs.slice(-NEWEST);
    const more = line.runs.length - runs.length;
    const start = runs[0].started_at;
    const end = Math.max(start + 1, ...runs.map((run) => run.ended_at || now));
    const share = (at) => `${Math.min(100, Math.max(0, ((at - start) / (end - start)) * 100))}%`;
    return h(SDK.React.Fragment, null,
      more ? h("p", null, h(Act, { label: `Show ${plural(more, "earlier attempt", "earlier attempts")}`, onClick: () => setAll(true) })) : null,
      line.left_out && !more ? h("p", { className: "hk-quiet" }, `${plural(line.left_out, "attempt before these is", "attempts before these are")} left out.`) : null,
      h("ol", { className: "hk-timeline" }, runs.map((run) =>
        h("li", { key: run.run_id, "data-outcome": run.cause || "running" },
          h("span", { className: "hk-number hk-quiet" }, `#${run.number}`),
          h("span", { className: "hk-track", "aria-hidden": "true" },
            h("span", { className: "hk-bar", style: { left: share(run.started_at), right: `calc(100% - ${share(run.ended_at || now)})` } }),
            run.rescued ? h("span", { className: "hk-rescue", style: { left: share(run.ended_at) } }) : null),
          h("span", { className: "hk-outcome" }, h("strong", null, run.cause ? words(run.cause) : "running"), ` ${lasted(run, now)}`,
            run.rescued ? ", rescued" : ""),
          run.error ? h("span", { className: "hk-error hk-quiet" }, run.error) : null))),
      h("p", { className: "hk-axis hk-quiet" }, h("span", null, `${span(now - start)} ago`), h("span", null, runs.at(-1).ended_at ? `${span(now - end)} ago` : "now")));
  }

  function TaskDialog({ board, taskId, onClose }) {
    const { data, problem } = usePoll(`/tasks/${encodeURIComponent(taskId)}`, board, POLL_MS);
    const log = useRef(null);
    const follows = useRef(true);
    const text = data ? data.log : "";
    // It follows its end until somebody scrolls back to read.
    const scrolled = ({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => { follows.current = scrollHeight - scrollTop - clientHeight < 24; };
    useEffect(() => { if (log.current && follows.current) log.current.scrollTop = log.current.scrollHeight; }, [text]);
    return h(Dialog, { title: data ? data.title : taskId, onClose },
      problem ? h("p", { role: "alert" }, problem) : null,
      data
        ? h(SDK.React.Fragment, null,
            h("p", { className: "hk-quiet" }, [data.task_id, data.status, data.assignee].filter(Boolean).join(" · ")),
            h("p", { className: "hk-why" }, data.why, data.next ? h("span", { className: "hk-quiet" }, ` Next: ${data.next}.`) : null),
            data.also ? h("p", { className: "hk-why" }, data.also) : null,
            h("h3", null, "Attempts"), h(Timeline, { line: data }),
            h("h3", null, "Latest output"),
            text
              ? h("pre", { ref: log, className: "hk-log hk-mono", tabIndex: 0, onScroll: scrolled, "aria-label": "End of the workers' output" }, text)
              : h("p", { className: "hk-quiet" }, "No output yet."))
        : problem ? null : h("p", { className: "hk-quiet" }, "Looking …"));
  }

  /* ---- the page ---------------------------------------------------------------------------------------------- */

  function Notes({ notes }) {
    if (!notes.length) return null;
    return h("details", { className: "hk-fold hk-notes" },
      h("summary", null, `${plural(notes.length, "note", "notes")} about this installation`),
      h("ul", null, notes.map((note) =>
        h("li", { key: note.sentence }, h("p", null, note.sentence), note.command ? h(Advice, { text: note.command }) : null))));
  }

  function News({ news, onGone }) {
    useEffect(() => {
      if (!news) return undefined;
      const timer = setTimeout(onGone, NEWS_MS);
      return () => clearTimeout(timer);
    }, [news]);
    return h("p", { role: "status", "aria-live": "polite", className: "hk-news", "data-tone": news ? news.tone : "good" },
      news ? news.text : "");
  }

  /** Take the focus to the list when the button that had it went away with its item. */
  function keepFocus() {
    const heading = document.getElementById("hk-attention");
    if (heading && (!document.activeElement || document.activeElement === document.body)) heading.focus({ preventScroll: true });
  }

  /** Do the same when what had the focus went away with newer facts. */
  function useKeptFocus() {
    const held = useRef(null);
    useEffect(() => {
      const take = ({ target }) => { held.current = target; };
      document.addEventListener("focusin", take);
      return () => document.removeEventListener("focusin", take);
    }, []);
    useEffect(() => {
      if (!held.current || held.current.isConnected) return;
      held.current = null;
      keepFocus();
    });
  }

  /** What stands there instead of a board that cannot be shown: why, and the way to the others. */
  function NoBoard({ board, problem, onBoard }) {
    const { data } = usePoll("/boards", "", CHARTS_MS);
    const others = data ? data.boards.filter((slug) => slug !== board) : [];
    return h("div", { className: "hk" },
      h("h1", { className: "hk-hidden" }, "Kanban Health"),
      h("p", { role: "alert", className: "hk-news", "data-tone": "bad" }, problem),
      others.length
        ? h("section", { className: "hk-strip" },
            h(BoardChoice, { boards: [board, ...others], board, onBoard }))
        : null);
  }

  function Page() {
    const [board, setBoard] = useState(() => new URLSearchParams(window.location.search).get("board") || "");
    const { data, problem, reload } = usePoll("/overview", board, POLL_MS);
    const [news, setNews] = useState(null);
    const [busy, setBusy] = useState(false);
    const [preview, setPreview] = useState(null);
    const [stopping, setStopping] = useState(null);
    const [open, setOpen] = useState(null);
    useKeptFocus();

    // The address names the board, so that it can be kept and shared.
    const choose = (slug) => {
      window.history.replaceState(window.history.state, "", `${window.location.pathname}?board=${encodeURIComponent(slug)}`);
      setBoard(slug);
    };
    if (!data) {
      return problem
        ? h(NoBoard, { board, problem, onBoard: choose })
        : h("div", { className: "hk" }, h("p", { className: "hk-quiet" }, "Looking at the board …"));
    }
    const tell = (failed) => setNews({ tone: "bad", text: explain(failed) });
    const carryOut = (deed) => {
      setBusy(true);
      return deed.then((answer) => setNews({ tone: "good", text: answer.sentence }), tell)
        .then(() => { setPreview(null); setStopping(null); return reload(); })
        .finally(() => { setBusy(false); setTimeout(keepFocus); });
    };
    // What is sent is what was drawn, also when newer facts came in while a question was open.
    const act = (action, asOf = data.as_of) =>
      carryOut(post("/act", { board: data.board, verb: action.verb, task_id: action.task_id, seen: action.seen, as_of: asOf, life: action.life }));
    const askStop = ({ task_id, seen, title }) => setStopping({ action: { verb: "stop", task_id, seen }, title, asOf: data.as_of });
    const stop = () => act(stopping.action, stopping.asOf);
    const press = (action, title) => (action.verb === "stop" ? askStop({ ...action, title }) : act(action));
    const askBulk = () => ask("/stale", data.board).then(setPreview, tell);
    const reclaimAll = () =>
      carryOut(post("/reclaim-stale", { board: data.board, shown: preview.taken.map(({ task_id, run_id }) => ({ task_id, run_id })) }));

    return h("div", { className: "hk" },
      h("h1", { className: "hk-hidden" }, "Kanban Health"),
      problem ? h("p", { role: "alert", className: "hk-news", "data-tone": "bad" }, `This is what was last seen. ${problem}`) : null,
      h(News, { news, onGone: () => setNews(null) }),
      h(Strip, { data, onBoard: choose }),
      h(Attention, { data, busy, onAct: press, onBulk: askBulk, onOpen: setOpen }),
      h(Running, { data, busy, onStop: askStop, onOpen: setOpen }),
      h(Waiting, { data, busy, onAct: press, onOpen: setOpen }),
      h(Charts, { board }),
      h(Notes, { notes: data.notes }),
      preview ? h(BulkDialog, { preview, busy, onConfirm: reclaimAll, onClose: () => setPreview(null) }) : null,
      stopping ? h(StopDialog, { title: stopping.title, busy, onConfirm: stop, onClose: () => setStopping(null) }) : null,
      open ? h(TaskDialog, { board: data.board, taskId: open, onClose: () => setOpen(null) }) : null);
  }

  window.__HERMES_PLUGINS__.register("hermes-kanban", Page);
})();
