// Draws the charts of the page. Everything that came from a server or a configuration arrives as JSON and is only
// ever set as text; the policy in the page's head permits no script but this one and the chart library.
"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const LIGHT = ["#1f6fd0", "#d9570f", "#2b8a4b", "#9336b4", "#b8860b", "#c2255c", "#0c8599", "#5f6b7a", "#7a4b1e", "#3b5bdb", "#846358"];
  const DARK = ["#63a4ff", "#ff9a52", "#5fd08a", "#d18bf0", "#e8c14d", "#ff7fa8", "#4fd0e0", "#aab4c0", "#d3a06a", "#8ea6ff", "#c9a79a"];
  const PERCENTILES = [1, 2, 4, 10, 20, 100, 1000, 10000, 100000];
  const NAMES = { 1: "0 %", 2: "50 %", 4: "75 %", 10: "90 %", 20: "95 %", 100: "99 %", 1000: "99.9 %", 10000: "99.99 %", 100000: "99.999 %" };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const sync = uPlot.sync("time");
  const HEIGHT = 300;
  let drawn = [];
  let printing = false;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Three significant digits, as everywhere in the report.
  const figure = (value) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    if (size >= 100) return Math.round(value).toLocaleString("en-US");
    if (size >= 9.995) return value.toFixed(1);
    if (size >= 0.9995 || size === 0) return value.toFixed(2);
    return value.toPrecision(3);
  };
  const tick = (value) => {
    if (value == null) return "";
    return value >= 1000 ? value.toLocaleString("en-US") : String(Number(value.toPrecision(6)));
  };
  const percentile = (inverse) => {
    const share = (1 - 1 / inverse) * 100;
    return share.toFixed(share < 99 ? 1 : share < 99.9 ? 2 : share < 99.99 ? 3 : 4) + " %";
  };

  // Stages as bands with their names; where there is no room for a name, its band is still seen.
  const bands = (list) => ({
    hooks: {
      drawClear: (plot) => {
        const { ctx, bbox } = plot;
        const ratio = window.devicePixelRatio || 1;
        ctx.save();
        ctx.beginPath();
        ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
        ctx.clip();
        ctx.font = 11 * ratio + "px system-ui, sans-serif";
        ctx.textAlign = "left";
        ctx.textBaseline = "top";
        list.forEach((band, place) => {
          const from = plot.valToPos(band.from, "x", true);
          const to = plot.valToPos(band.to, "x", true);
          if (place % 2 === 0) {
            ctx.fillStyle = colour("--band");
            ctx.fillRect(from, bbox.top, to - from, bbox.height);
          }
          ctx.fillStyle = colour("--line");
          ctx.fillRect(from, bbox.top, ratio, bbox.height);
          const left = Math.max(from, bbox.left) + 4 * ratio;
          if (ctx.measureText(band.name).width < Math.min(to, bbox.left + bbox.width) - left) {
            ctx.fillStyle = colour("--soft");
            ctx.fillText(band.name, left, bbox.top + 4 * ratio);
          }
        });
        ctx.restore();
      },
    },
  });

  // From the smallest to the largest value, with a little room; a logarithmic axis needs values above 0.
  const range = (scale, wide) => (plot, low, high) => {
    if (low == null) return [scale === "linear" ? 0 : 1, scale === "linear" ? 1 : 10];
    if (scale === "percentile") return [Math.max(1, low), high];
    if (scale === "log") {
      const room = wide ? 1.02 : 1.25;
      return [low / room, high * room];
    }
    if (wide) return [low, high > low ? high : low + 1];
    return [0, high > 0 ? high * 1.08 : 1];
  };

  const axis = (definition, side) => {
    const it = {
      label: definition.label, stroke: colour("--soft"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
      grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, labelSize: 22,
      values: (plot, ticks) => ticks.map(tick),
    };
    if (side === "y") it.size = 64;
    if (definition.scale === "log") {
      it.splits = definition.whole ? wholeTicks : logTicks;
      it.filter = (plot, ticks) => ticks;
    }
    if (definition.scale === "percentile") {
      // As many as have room for their names.
      it.splits = (plot, place, low, high) => {
        const at = (value) => (Math.log(value / low) / Math.log(high / low)) * (plot.width - 90);
        let last = -Infinity;
        return PERCENTILES.filter((value) => {
          if (value < low * 0.999 || value > high * 1.001 || at(value) < last + 46) return false;
          last = at(value);
          return true;
        });
      };
      it.filter = (plot, ticks) => ticks;
      it.values = (plot, ticks) => ticks.map((value) => NAMES[value]);
    }
    return it;
  };

  const options = (chart, width) => {
    const palette = dark.matches && !printing ? DARK : LIGHT;
    const logarithmic = (scale) => (scale === "linear" ? 1 : 3);
    const isTime = chart.x.label.startsWith("run time");
    const xValue = chart.x.scale === "percentile" ? percentile : figure;
    const series = [{ label: chart.x.label, value: (plot, value) => (value == null ? "–" : xValue(value)) }];
    chart.series.forEach((one, place) => {
      const stroke = palette[place % palette.length];
      const it = { label: one.name, stroke, width: 1.5, show: one.show, spanGaps: false, value: (plot, value) => figure(value) };
      if (one.bars) {
        it.paths = uPlot.paths.bars({ size: [0.95, 100] });
        it.fill = stroke + "99";
        it.width = 0;
        it.points = { show: false };
      } else {
        it.points = one.points ? { show: true, size: 7, fill: stroke } : { size: 4 };
      }
      series.push(it);
    });
    return {
      width, height: HEIGHT, series,
      scales: {
        x: { time: false, distr: logarithmic(chart.x.scale), range: range(chart.x.scale, true) },
        y: { distr: logarithmic(chart.y.scale), range: range(chart.y.scale, false) },
      },
      axes: [axis(chart.x, "x"), axis(chart.y, "y")],
      cursor: isTime ? { sync: { key: sync.key }, drag: { x: true, y: false } } : { drag: { x: true, y: false } },
      plugins: [bands(chart.bands)],
    };
  };

  const draw = () => {
    drawn.forEach((one) => one.plot.destroy());
    drawn = [];
    for (const chart of charts) {
      const place = document.getElementById("chart-" + chart.id);
      if (!place) continue;
      const width = printing ? 680 : Math.max(280, place.clientWidth);
      const data = [chart.at, ...chart.series.map((one) => one.values)];
      drawn.push({ plot: new uPlot(options(chart, width), data, place), place });
    }
    document.documentElement.dataset.chartsDrawn = String(drawn.length);
    document.documentElement.dataset.drawnMs = performance.now().toFixed(0);
  };

  draw();
  let resizing;
  window.addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      if (printing) return;
      drawn.forEach((one) => one.plot.setSize({ width: Math.max(280, one.place.clientWidth), height: HEIGHT }));
    }, 100);
  });
  dark.addEventListener("change", draw);
  window.addEventListener("beforeprint", () => { printing = true; draw(); });
  window.addEventListener("afterprint", () => { printing = false; draw(); });
})();
