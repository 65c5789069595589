"use strict";
// Draws the learning curves with Plotly, which is unpacked when the first chart comes into view.
(() => {
  const { names, groups, styles, charts } = JSON.parse(document.getElementById("page-data").textContent);
  const dashes = ["solid", "dash", "dot", "longdashdot", "longdash"];
  const figures = [...document.querySelectorAll(".chart")];
  const inView = new Set();
  const outdated = new Set(figures);
  let shown = names.map(() => true);
  let pointed = null;
  let loading = null;

  async function loadPlotly() {
    const packed = document.getElementById("plotly").textContent;
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  // ---- what is drawn -----------------------------------------------------------------------
  const control = (id) => document.getElementById(id);
  // A run, or the runs of a group that differ only in their seed, drawn as one line.
  function series() {
    const list = control("seeds")?.checked ? Object.entries(groups)
      : names.map((name, i) => [name, [i]]);
    return list.map(([name, runs]) => ({ name, style: styles[runs[0]], runs: runs.filter((i) => shown[i]) }))
      .filter((item) => item.runs.length);
  }
  // Exponential moving average, corrected for its start at zero.
  function smooth(values, weight) {
    let sum = 0;
    let total = 0;
    return values.map((value) => {
      sum = weight * sum + (1 - weight) * value;
      total = weight * total + 1 - weight;
      return sum / total;
    });
  }
  function valueAt({ x, y }, at) {
    if (at < x[0] || at > x[x.length - 1]) return NaN;
    const right = x.findIndex((value) => value >= at);
    if (x[right] === at) return y[right];
    const share = (at - x[right - 1]) / (x[right] - x[right - 1]);
    return y[right - 1] + share * (y[right] - y[right - 1]);
  }
  // Mean, lowest and highest value of several lines at the steps of any of them.
  function combine(lines) {
    const x = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
    const columns = x.map((at) => lines.map((line) => valueAt(line, at)).filter((v) => !Number.isNaN(v)));
    return {
      x,
      y: columns.map((values) => values.reduce((sum, value) => sum + value, 0) / values.length),
      low: columns.map((values) => Math.min(...values)),
      high: columns.map((values) => Math.max(...values)),
    };
  }
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function traces(chart) {
    const weight = Number(control("smoothing").value);
    const result = [];
    for (const { name, style: [number, dash], runs } of series()) {
      const lines = runs.map((run) => chart.lines[run]).filter(Boolean);
      if (!lines.length) continue;
      const color = variable(`--c${number}`);
      const style = {
        name, type: "scatter", mode: "lines", meta: runs,
        line: { color, width: 2, dash: dashes[dash] },
        opacity: pointed === null || runs.includes(pointed) ? 1 : 0.15,
        hovertemplate: "%{y:.4g}", showlegend: false,
      };
      const quiet = { ...style, hoverinfo: "skip", hovertemplate: undefined };
      const smoothed = lines.map((line) => ({ x: line.x, y: smooth(line.y, weight) }));
      const line = lines.length > 1 ? combine(smoothed) : smoothed[0];
      if (lines.length > 1) {
        const edge = { ...quiet, x: line.x, line: { width: 0 } };
        result.push({ ...edge, y: line.low });
        result.push({ ...edge, y: line.high, fill: "tonexty", fillcolor: `${color}33` });
      } else if (weight > 0) {
        result.push({ ...quiet, ...lines[0], opacity: 0.25 * style.opacity });
      }
      // A single point has no line.
      result.push({ ...style, x: line.x, y: line.y, mode: line.x.length > 1 ? "lines" : "markers" });
    }
    return result;
  }
  function layout(chart, count) {
    const axis = { gridcolor: variable("--line"), zerolinecolor: variable("--line"), automargin: true };
    const chosen = control("axis").value;
    const log = chosen === "log" || (chosen === "auto" && chart.log);
    return {
      height: 260, margin: { l: 8, r: 24, t: 8, b: 8 },
      paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      font: { color: variable("--quiet"), size: 12, family: getComputedStyle(document.body).fontFamily },
      hovermode: count > 8 ? "closest" : "x unified",
      hoverlabel: { bgcolor: variable("--card"), bordercolor: variable("--line"), font: { color: variable("--ink") } },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, title: { text: "step", standoff: 4 }, tickformat: ",d", nticks: 6, rangemode: "tozero" },
      yaxis: { ...axis, type: log ? "log" : "linear", exponentformat: "power", nticks: 6 },
      uirevision: log,
    };
  }
  function draw(figure) {
    const chart = charts[Number(figure.dataset.chart)];
    Plotly.react(figure, traces(chart), layout(chart, series().length), { displayModeBar: false, responsive: true });
    outdated.delete(figure);
  }
  function drawLegend() {
    control("legend").replaceChildren(...series().map(({ name, style: [color, dash] }) => {
      const item = document.createElement("span");
      item.innerHTML = `<svg class="mark" viewBox="0 0 28 10" aria-hidden="true"><line x1="1" y1="5" x2="27" y2="5" class="line c${color} d${dash}"/></svg> `;
      item.append(name);
      return item;
    }));
  }
  function update() {
    drawLegend();
    for (const figure of figures) outdated.add(figure);
    if (window.Plotly) for (const figure of inView) draw(figure);
  }

  const watcher = new IntersectionObserver(async (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) inView.add(target); else inView.delete(target);
    }
    if (!inView.size) return;
    loading = loading || loadPlotly();
    await loading;
    for (const figure of inView) if (outdated.has(figure)) draw(figure);
  }, { rootMargin: "200px" });
  for (const figure of figures) watcher.observe(figure);
  for (const id of ["smoothing", "axis", "seeds"]) control(id)?.addEventListener("input", update);
  document.addEventListener("runs-shown", ({ detail }) => { shown = detail; update(); });
  // The run of a table row that is pointed at is highlighted.
  document.addEventListener("run-pointed", ({ detail }) => { pointed = detail; update(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
  // Charts that have not come into view are printed too, once Plotly is unpacked.
  addEventListener("beforeprint", () => { if (window.Plotly) for (const figure of outdated) draw(figure); });
})();
