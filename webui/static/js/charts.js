// Draws every [data-chart] from the table inside it, again whenever the table, the width or the theme has changed.
// Lines differ by colour, dash and marker, and carry their name at their end: no colour has to be told from another.

const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [1, 4], [12, 4]];
const drawn = new Map(); // figure → { plot, key, stamp }

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// `light-dark()` is resolved by the browser only for a real property.
function colour(element, name) {
  element.style.color = `var(${name})`;
  const found = getComputedStyle(element).color;
  element.style.color = "";
  return found;
}

const words = {
  share: (v) => (v == null ? "–" : `${(100 * v).toFixed(1)} %`),
  number: (v) => (v == null ? "–" : Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en") : String(Number(v.toPrecision(3)))),
};

function read(figure) {
  const heads = [...figure.querySelectorAll("thead th")].slice(1);
  const rows = [...figure.querySelectorAll("tbody tr")];
  const columns = [rows.map((row) => Number(row.cells[0].textContent))];
  heads.forEach((_, at) => columns.push(rows.map((row) => (row.cells[at + 1].dataset.v === undefined ? null : Number(row.cells[at + 1].dataset.v)))));
  return { x: figure.querySelector("thead th").textContent, names: heads.map((head) => head.textContent),
    dashed: heads.map((head) => "dashed" in head.dataset), data: columns };
}

function options(figure, box, { x, names, dashed, data }) {
  const ink = colour(box, "--quiet"), line = colour(box, "--line"), ground = colour(box, "--surface");
  const say = words[figure.dataset.unit] ?? words.number;
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
  const few = data[0].length <= 40;
  const series = names.map((name, at) => {
    const stroke = colour(box, `--s${(at % 6) + 1}`);
    return { label: name, stroke, width: 2, dash: DASHES[at % 6], spanGaps: true,
      points: { show: few && !dashed[at], size: 6, stroke, fill: at % 2 ? ground : stroke } };
  });
  const most = Math.min(28, Math.max(6, Math.floor(box.clientWidth / 28))); // letters of a name beside its line
  const beside = names.length > 1 ? 16 + widest(names.map((name) => short(name, most)), font) : 12;
  const outputs = [...figure.querySelectorAll(".legend output")];
  return {
    width: box.clientWidth, height: 240, legend: { show: false }, cursor: { y: false, points: { size: 8 } },
    padding: [10, beside, 0, 0],
    scales: { x: { time: false, range: (plot) => [plot.data[0][0], Math.max(plot.data[0].at(-1), plot.data[0][0] + 1)] },
      y: { range: (_, low, high) => room(low, high, figure.dataset.unit) } },
    axes: [{ ...axis, size: 30, label: x, labelSize: 18, labelFont: font, labelGap: 0, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
      { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => (figure.dataset.unit === "share" ? `${Math.round(100 * tick)} %` : words.number(tick))) }],
    series: [{}, ...series],
    hooks: { draw: [(plot) => label(plot, names.map((name) => short(name, most)))], setCursor: [(plot) => {
      const at = plot.cursor.idx;
      outputs.forEach((output, each) => {
        const values = plot.data[each + 1];
        output.textContent = say(at == null ? values.findLast((v) => v != null) : values[at]);
      });
    }] },
  };
}

const short = (name, most) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);
const pen = document.createElement("canvas").getContext("2d");
function widest(texts, font) {
  pen.font = font;
  return Math.ceil(Math.max(...texts.map((text) => pen.measureText(text).width)));
}

// The name of each line beside its last point, moved apart where they would cover each other.
function label(plot, names) {
  if (names.length < 2) return;
  const scale = devicePixelRatio, gap = 13 * scale, { ctx, bbox, data } = plot;
  const places = names.map((name, at) => {
    const last = data[at + 1].findLastIndex((v) => v != null);
    return { at, name, y: last < 0 ? null : plot.valToPos(data[at + 1][last], "y", true), x: last < 0 ? 0 : plot.valToPos(data[0][last], "x", true) };
  }).filter((place) => place.y !== null && place.x > bbox.left + bbox.width - 4).sort((one, other) => one.y - other.y);
  const top = bbox.top + 4 * scale, bottom = bbox.top + bbox.height;
  places.forEach((place, at) => (place.y = Math.max(place.y, at ? places[at - 1].y + gap : top)));
  for (let at = places.length - 1, floor = bottom; at >= 0; at--, floor -= gap) places[at].y = Math.min(places[at].y, floor);
  ctx.save();
  ctx.font = `${12 * scale}px ${getComputedStyle(document.body).fontFamily}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  for (const { at, name, y } of places) {
    ctx.fillStyle = plot.series[at + 1].stroke();
    ctx.fillText(name, bbox.left + bbox.width + 8 * scale, y);
  }
  ctx.restore();
}

function room(low, high, unit) {
  if (low == null) return [0, 1];
  if (unit === "share") return [Math.max(0, low - 0.05), Math.min(1, high + 0.05)];
  const gap = (high - low || Math.abs(high) || 1) * 0.08;
  return [low >= 0 ? Math.max(0, low - gap) : low - gap, high + gap];
}

function draw(figure) {
  const box = figure.querySelector(".plot");
  const table = read(figure);
  if (!table.data[0].length) return;
  box.hidden = false;
  figure.querySelector(".legend").hidden = false;
  const stamp = `${table.data[0].length} ${figure.querySelector("tbody").lastElementChild.textContent}`;
  const key = [table.names.join("\n"), style("--accent"), matchMedia("(prefers-color-scheme: dark)").matches].join("\n");
  const before = drawn.get(figure);
  if (before?.key === key) {
    if (before.stamp !== stamp) {
      before.plot.setData(table.data);
      if (before.plot.cursor.left < 0) before.plot.setCursor({ left: -10, top: -10 }); // the legend tells the newest
    }
    before.stamp = stamp;
    return;
  }
  before?.plot.destroy();
  const plot = new uPlot(options(figure, box, table), table.data, box);
  plot.setCursor({ left: -10, top: -10 });
  drawn.set(figure, { plot, key, stamp });
}

function drawAll() {
  for (const [figure, { plot }] of drawn) {
    if (!figure.isConnected) {
      plot.destroy();
      drawn.delete(figure);
      widths.unobserve(figure);
    }
  }
  for (const figure of document.querySelectorAll("[data-chart]")) {
    if (!drawn.has(figure)) widths.observe(figure);
    draw(figure);
  }
}

const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const plot = drawn.get(target)?.plot, width = target.querySelector(".plot").clientWidth;
    if (plot && width && width !== plot.width) plot.setSize({ width, height: 240 });
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
document.addEventListener("part", drawAll);
drawAll();
