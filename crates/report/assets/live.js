// Asks once a second for the run's view and for the points that are new, and shows them. All texts are set as text.
"use strict";
(() => {
  const EVERY_MS = 1000;
  const LIGHT = ["#1f6fd0", "#d9570f", "#2b8a4b", "#9336b4", "#b8860b"];
  const DARK = ["#63a4ff", "#ff9a52", "#5fd08a", "#d18bf0", "#e8c14d"];
  const MEANING = {
    VALID: "so far: no rule doubts the generator",
    SUSPECT: "so far: read the figures with the reasons in mind",
    INVALID: "so far: these figures cannot be trusted",
  };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const sync = uPlot.sync("time");
  const at = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const figure = (value) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    if (size >= 100) return Math.round(value).toLocaleString("en-US");
    if (size >= 9.995) return value.toFixed(1);
    if (size >= 0.9995 || size === 0) return value.toFixed(2);
    return value.toPrecision(3);
  };
  const whole = (value) => (value == null ? "–" : Math.round(value).toLocaleString("en-US"));
  const ms = (us) => (us == null ? null : us / 1000);
  const seconds = (value) => {
    const all = Math.max(0, Math.round(value / 1000));
    if (all < 60) return all + " s";
    const rest = String(all % 60).padStart(2, "0");
    return all < 3600 ? Math.floor(all / 60) + " min " + rest + " s" : Math.floor(all / 3600) + " h " + String(Math.floor(all / 60) % 60).padStart(2, "0") + " min";
  };

  const element = (name, text, kind) => {
    const it = document.createElement(name);
    if (text != null) it.textContent = text;
    if (kind) it.className = kind;
    return it;
  };
  const fill = (place, children) => place.replaceChildren(...children);

  const rate = (point, count) => point[count] / Math.max(1, point.seconds);
  const latency = (name, percentile) => (point) => {
    const us = point.latencies[name][percentile];
    return us == null ? null : Math.max(us, 0.5) / 1000;
  };
  const CHARTS = [
    { id: "requests", title: "Requests", unit: "requests/s", lines: [["due", (p) => rate(p, "due")], ["sent", (p) => rate(p, "sent")], ["completed", (p) => rate(p, "completed")], ["failed", (p) => rate(p, "failed")]] },
    { id: "ttft", title: "TTFT", unit: "ms", log: true, lines: [["p50", latency("ttft", "p50Us")], ["p90", latency("ttft", "p90Us")], ["p99", latency("ttft", "p99Us")]] },
    { id: "gap", title: "ITL", unit: "ms", log: true, lines: [["p50", latency("itl", "p50Us")], ["p90", latency("itl", "p90Us")], ["p99", latency("itl", "p99Us")]] },
    { id: "tokens", title: "Output tokens", unit: "tokens/s", lines: [["output", (p) => rate(p, "outputTokens")]] },
    { id: "flight", title: "In flight", unit: "requests", lines: [["in flight", (p) => p.inFlightMax], ["connections", (p) => p.connectionsMax]] },
    { id: "lag", title: "The generator's own lag", unit: "ms", log: true, lines: [["p50", latency("generatorLag", "p50Us")], ["p99", latency("generatorLag", "p99Us")]] },
  ];

  let points = [];
  let plots = [];
  let gap = "itl";

  const data = (chart) => [points.map((p) => p.second + p.seconds / 2), ...chart.lines.map(([, value]) => points.map(value))];

  const options = (chart, width) => {
    const palette = dark.matches ? DARK : LIGHT;
    const axis = (label) => ({
      label, stroke: colour("--soft"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 20,
      grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 },
    });
    const y = { ...axis(chart.unit), size: 60, values: (plot, ticks) => ticks.map((tick) => (tick == null ? "" : tick >= 1000 ? tick.toLocaleString("en-US") : String(Number(tick.toPrecision(6))))) };
    if (chart.log) {
      y.splits = logTicks;
      y.filter = (plot, ticks) => ticks;
    }
    const range = chart.log
      ? (plot, low, high) => (low == null ? [1, 10] : [low / 1.25, high * 1.25])
      : (plot, low, high) => [0, high > 0 ? high * 1.08 : 1];
    return {
      width, height: 240,
      series: [{ label: "run time, s", value: (plot, value) => (value == null ? "–" : figure(value)) }, ...chart.lines.map(([label], place) => ({ label, stroke: palette[place], width: 1.5, points: { size: 4 }, value: (plot, value) => figure(value) }))],
      scales: { x: { time: false, range: (plot, low, high) => (low == null ? [0, 10] : [low, Math.max(high, low + 1)]) }, y: { distr: chart.log ? 3 : 1, range } },
      axes: [axis("run time, s"), y],
      cursor: { sync: { key: sync.key }, drag: { x: false, y: false } },
    };
  };

  const draw = () => {
    plots.forEach((plot) => plot.plot.destroy());
    plots = [];
    const places = CHARTS.map(() => element("div", null, "chart"));
    fill(at("charts"), CHARTS.map((chart, place) => {
      const box = element("figure");
      const caption = element("figcaption");
      caption.append(element("strong", chart.title));
      box.append(caption, places[place]);
      return box;
    }));
    // All are in their places before the first is measured: a column is as wide as their number lets it be.
    plots = CHARTS.map((chart, number) => {
      const place = places[number];
      return { plot: new uPlot(options(chart, Math.max(280, place.clientWidth)), data(chart), place), chart, place };
    });
  };

  const useGap = (live) => {
    const now = live.soFar.itl.count > 0 || live.soFar.icl.count === 0 ? "itl" : "icl";
    if (now === gap) return;
    gap = now;
    const chart = CHARTS.find((one) => one.id === "gap");
    chart.title = gap.toUpperCase();
    chart.lines = [["p50", latency(gap, "p50Us")], ["p90", latency(gap, "p90Us")], ["p99", latency(gap, "p99Us")]];
    draw();
  };

  const tile = (name, value, unit, beside, bad) => {
    const it = element("div", null, bad ? "tile bad" : "tile");
    const big = element("div", value + " ", "figure");
    big.append(element("small", unit));
    it.append(element("div", name, "name"), big, element("div", beside, "beside"));
    return it;
  };

  const tiles = (live) => {
    const last = live.last;
    const of = (count) => (last ? last[count] / Math.max(1, last.seconds) : null);
    const asked = live.askedPerS != null ? "asked: " + figure(live.askedPerS) + (live.turns ? " sessions/s" : "") : live.askedInFlight != null ? "asked in flight: " + figure(live.askedInFlight) : "";
    const books = live.books;
    const failures = Object.entries(books.failedBy).map(([name, count]) => name + " " + whole(count)).join(", ");
    fill(at("tiles"), [
      tile("sent", figure(of("sent")), "req/s", asked),
      tile("completed", figure(of("completed")), "req/s", whole(books.completed) + " of " + whole(books.due) + " due"),
      tile("output", figure(of("outputTokens")), "tok/s", whole(live.outputTokens) + " tokens"),
      tile("TTFT p50", figure(ms(live.recent.ttft.p50Us)), "ms", "p99: " + figure(ms(live.recent.ttft.p99Us))),
      tile(gap.toUpperCase() + " p50", figure(ms(live.recent[gap].p50Us)), "ms", "p99: " + figure(ms(live.recent[gap].p99Us))),
      tile("in flight", whole(live.inFlight), "", "open: " + whole(books.open)),
      tile("failed", whole(books.failed), "", failures, books.failed > 0),
      tile("lag p99", figure(ms(live.recent.generatorLag.p99Us)), "ms", "the generator's own"),
    ]);
  };

  const row = (cells, words) => {
    const it = element("tr");
    cells.forEach((cell, place) => it.append(element("td", cell, place < words ? "words" : null)));
    return it;
  };

  const latencies = (live) => {
    const names = { ttft: "ttft", [gap]: gap, e2eLatency: "e2e_latency", scheduleLag: "schedule_lag", generatorLag: "generator_lag" };
    const of = (figures) => ["p50Us", "p90Us", "p99Us"].map((name) => figure(ms(figures[name])));
    at("recent").textContent = "last " + live.recentSeconds + " s";
    const line = (name, recent, soFar) => row([name, ...of(recent), ...of(soFar), whole(soFar.count)], 1);
    const turns = live.turns ? live.turns.each.map((turn) => line("ttft, " + turn.name, turn.recent, turn.soFar)) : [];
    const all = Object.entries(names).map(([key, name]) => line(name, live.recent[key], live.soFar[key]));
    fill(at("latencies").tBodies[0], [all[0], ...turns, ...all.slice(1)]);
  };

  const workers = (live) => {
    const rows = live.workers.map((one) => {
      const share = one.share == null ? "–" : (one.share * 100).toFixed(1) + " %";
      const it = row([one.ordinal, one.host, one.state, share, whole(one.books.due), whole(one.books.completed), whole(one.books.failed), whole(one.inFlight), figure(ms(one.generatorLagP99Us)), figure(ms(one.ttftP50Us)), one.reportedToS], 3);
      it.cells[2].classList.add("state-" + one.state);
      if (one.state === "lost") it.classList.add("lost");
      return it;
    });
    fill(at("workers").tBodies[0], rows);
  };

  // Whoever is beyond the wanted workers is a spare.
  const crew = (live) => {
    const spares = Math.max(0, live.workersHere - live.workersExpected);
    const beside = spares ? " and " + spares + (spares === 1 ? " spare" : " spares") : "";
    return live.workersHere - spares + " of " + live.workersExpected + (live.workersExpected === 1 ? " worker" : " workers") + beside;
  };

  const head = (live) => {
    const stage = live.stage ? ", stage " + live.stage.name + " (" + (live.stage.index + 1) + " of " + live.stage.of + ")" : "";
    document.title = live.name + ": " + live.phase + ", " + live.verdict.status;
    at("name").textContent = live.name;
    at("about").textContent = [live.model, live.endpoint].filter(Boolean).join(" at ");
    at("contact").className = "state";
    at("contact").textContent = live.phase + stage + ", " + crew(live);
    at("verdict").className = "verdict " + live.verdict.status.toLowerCase();
    at("status").textContent = live.verdict.status;
    at("meaning").textContent = MEANING[live.verdict.status];
    fill(at("reasons"), live.verdict.reasons.map((reason) => element("li", reason.code + ": " + reason.message)));
    const time = live.runTimeMs;
    const end = live.endsAtMs;
    at("bar").style.width = time != null && end ? Math.min(100, (time / end) * 100) + "%" : "0";
    at("clock").textContent = time == null ? "not begun" : end == null ? seconds(time) : seconds(time) + " of " + seconds(end) + (live.timeLeftMs > 0 ? ", " + seconds(live.timeLeftMs) + " left" : "");
  };

  const ask = async (path) => {
    const answer = await fetch(path, { cache: "no-store" });
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.error || "status " + answer.status);
    return value;
  };

  const look = async () => {
    try {
      const last = points.length ? points[points.length - 1] : null;
      const [live, news] = await Promise.all([ask("api/v1/run"), ask("api/v1/series?from=" + (last ? last.second + last.seconds : 0))]);
      points.push(...news.points);
      points = points.slice(-1200);
      useGap(live);
      head(live);
      tiles(live);
      latencies(live);
      workers(live);
      if (news.points.length) plots.forEach((one) => one.plot.setData(data(one.chart)));
      document.documentElement.dataset.points = String(points.length);
    } catch (error) {
      at("contact").className = "state bad";
      at("contact").textContent = error instanceof TypeError ? "no contact: the run is over, or its coordinator is gone; what follows is its last word" : error.message;
    }
    setTimeout(look, EVERY_MS);
  };

  draw();
  look();
  let resizing;
  window.addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => plots.forEach((one) => one.plot.setSize({ width: Math.max(280, one.place.clientWidth), height: 240 })), 100);
  });
  dark.addEventListener("change", draw);
})();
