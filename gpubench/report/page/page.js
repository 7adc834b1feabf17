// Everything that this script shows is set with textContent: texts from results are never markup.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const views = new Map(); // the Vega view of each chart that is drawn, by its number
const chosen = { objective_ms: null, cell: null };

document.documentElement.classList.add("js");
offerCells();
document.querySelectorAll(".sheet").forEach(makeTools);
if (DATA.answers.steps) watchObjective();
if (DATA.charts.charts.length) watchCharts();

function make(tag, text = "", properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(text);
  return element;
}

// The answer -------------------------------------------------------------------------------------

function watchObjective() {
  const input = document.getElementById("objective");
  input.addEventListener("input", () => showStep(DATA.answers.steps[Number(input.value)], input));
  showStep(DATA.answers.steps[Number(input.value)], input); // a browser may have kept another position
}

function showStep(step, input) {
  document.getElementById("objective-text").textContent = step.text;
  input.setAttribute("aria-valuetext", step.text);
  document.querySelectorAll(".answer").forEach((card, index) => {
    const answer = DATA.answers.answers[step.answers[index]];
    card.className = "answer " + answer.standing.replace(" ", "-");
    for (const name of ["workload", "standing", "sentence"]) {
      card.querySelector("." + name).textContent = answer[name];
    }
    const [setting, place] = card.querySelector(".setting").children;
    setting.textContent = answer.setting;
    place.textContent = answer.place;
    card.querySelector("dl").replaceChildren(...answer.figures.map(([label, text]) => {
      const figure = make("div");
      figure.append(make("dt", label), make("dd", text));
      return figure;
    }));
  });
  // The charts show P95, so that the limit of another percentile has no place in them.
  if (DATA.answers.percent === 95) setSignal("objective_ms", step.limit_ms);
}

// Charts -----------------------------------------------------------------------------------------

function watchCharts() {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      watcher.unobserve(entry.target);
      draw(Number(entry.target.dataset.chart));
    }
  }, { rootMargin: "300px" });
  document.querySelectorAll("figure").forEach((figure) => {
    watcher.observe(figure);
    const rows = figure.querySelector(".rows");
    rows.addEventListener("toggle", () => showRows(rows, Number(figure.dataset.chart)), { once: true });
  });
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("figure").forEach((each) => draw(Number(each.dataset.chart)));
  });
}

// The cell whose requests are shown is chosen in a list, or with a button in its row of the table.
function offerCells() {
  const number = DATA.charts.charts.findIndex((chart) => chart.data.includes("requests"));
  if (number < 0) return;
  const figure = document.getElementById(`chart-${number}`);
  const list = figure.querySelector("[data-cell-choice]");
  const keys = new Set(DATA.charts.tables.requests.map((row) => row.key));
  for (const row of DATA.charts.tables.cells.filter((each) => keys.has(each.key))) {
    list.append(new Option([...new Set([row.panel, row.cell])].join(" · "), row.key));
  }
  list.value = DATA.charts.charts[number].spec.params.find((each) => each.name === "cell").value;
  list.addEventListener("change", () => setSignal("cell", list.value));
  let key = 0;
  for (const sheet of [...document.querySelectorAll(".sheet")].slice(0, DATA.cell_tables)) {
    for (const row of sheet.querySelector("tbody").rows) {
      const own = String((key += 1));
      if (!keys.has(own)) continue;
      const button = make("button", "requests", { type: "button", className: "requests" });
      button.addEventListener("click", () => {
        list.value = own;
        setSignal("cell", own);
        figure.scrollIntoView();
        list.focus({ preventScroll: true });
      });
      row.cells[0].append(" ", button);
    }
  }
}

function draw(number) {
  if (views.has(number)) return;
  views.set(number, null);
  const chart = DATA.charts.charts[number];
  const place = document.getElementById(`chart-${number}-drawing`);
  const spec = isPhone() ? narrowed(chart.spec) : { ...chart.spec };
  spec.datasets = Object.fromEntries(chart.data.map((name) => [name, DATA.charts.tables[name]]));
  spec.params = (spec.params ?? []).map((each) =>
    chosen[each.name] != null ? { ...each, value: chosen[each.name] } : each);
  vegaEmbed(place, spec, {
    actions: { export: true, source: false, compiled: false, editor: false },
    ast: true, // expressions are interpreted: the page allows no eval
    config: configuration(),
    defaultStyle: false,
    forceActionsMenu: true,
    logLevel: 1, // errors only: a panel without points of a kind is no reason for a warning
    downloadFileName: document.title,
    renderer: "svg",
    tooltip: { disableDefaultStyle: true },
  }).then((embedded) => {
    views.set(number, embedded.view);
    place.classList.add("drawn");
    for (const name of chart.parameters) if (chosen[name] !== null) signal(embedded.view, name);
    place.querySelector("summary").setAttribute("aria-label", "Save this chart");
    const svg = place.querySelector("svg.marks");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", place.closest("figure").querySelector("figcaption").textContent);
    const width = Number(svg.getAttribute("width"));
    svg.style.maxWidth = `min(100%, ${1.25 * width}px)`;
    if (width > 640) place.closest("figure").classList.add("broad");
  });
}

// A screen reader has the rows of a chart as a table, and not a label for each of 500 points.
function configuration() {
  const config = { ...DATA.charts.config, aria: false };
  config.mark = { ...config.mark, aria: false };
  if (isPhone()) {
    config.legend = { ...config.legend, columns: 1, layout: { bottom: { direction: "vertical" } } };
  }
  return config;
}

function isPhone() {
  return window.matchMedia("(max-width: 40rem)").matches;
}

// The same chart with its panels one below the other, none of them wider than a phone.
function narrowed(spec) {
  if (Array.isArray(spec)) return spec.map(narrowed);
  if (spec === null || typeof spec !== "object") return spec;
  const entries = Object.entries(spec).map(([key, value]) => {
    if (key === "columns") return [key, 1];
    if (key === "width" && value > 260) return [key, 260];
    return [key, narrowed(value)];
  });
  return Object.fromEntries(entries);
}

function setSignal(name, value) {
  chosen[name] = value;
  DATA.charts.charts.forEach((chart, number) => {
    const view = views.get(number);
    if (view && chart.parameters.includes(name)) signal(view, name);
  });
}

function signal(view, name) {
  view.signal(name, chosen[name]).runAsync();
}

function showRows(details, number) {
  for (const name of DATA.charts.charts[number].data) {
    const rows = DATA.charts.tables[name];
    const names = [...new Set(rows.flatMap(Object.keys))];
    const table = make("table");
    const head = table.createTHead().insertRow();
    head.append(...names.map((each) => make("th", each, { scope: "col" })));
    const body = table.createTBody();
    for (const row of rows) {
      body.insertRow().append(...names.map((each) => make("td", row[each] == null ? "–" : String(row[each]))));
    }
    details.querySelector(".wide").append(table);
  }
}

// Tables -----------------------------------------------------------------------------------------

function makeTools(sheet) {
  const table = sheet.querySelector("table");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, texts: [...row.cells].map(cellText) }));
  const heads = [...table.tHead.rows[0].cells];
  const titles = heads.map((head) => head.querySelector("span").textContent);
  rows.forEach(({ row }) => [...row.cells].forEach((cell, index) => { cell.dataset.label = titles[index]; }));
  if (rows.length < 2) return;

  const tools = make("div", "", { className: "tools" });
  const count = make("p", "", { className: "count" });
  count.setAttribute("aria-live", "polite");
  const search = make("input", "", { type: "search" });
  search.addEventListener("input", show);
  tools.append(labelled("Search", search));

  const filters = [];
  titles.forEach((title, index) => {
    const values = [...new Set(rows.map(({ texts }) => texts[index]))];
    const isFilter = "key" in heads[index].dataset || title === "verdict";
    if (!isFilter || values.length < 2 || values.length > 12) return;
    const select = make("select");
    select.append(new Option("all", ""), ...values.map((value, at) => new Option(value, String(at))));
    select.addEventListener("change", show);
    filters.push({ index, select, values });
    tools.append(labelled(title, select));
  });

  const order = make("select"); // on a phone, where the table has no header
  order.append(new Option("settings", ""));
  heads.forEach((head, index) => {
    const button = make("button", titles[index], { type: "button" });
    button.addEventListener("click", () => {
      sort(index, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
    });
    head.querySelector("span").replaceWith(button);
    for (const [direction, sign] of [["↑", 1], ["↓", -1]]) {
      order.append(new Option(`${titles[index]} ${direction}`, `${index} ${sign}`));
    }
  });
  order.addEventListener("change", () => {
    const [index, sign] = order.value.split(" ").map(Number);
    if (order.value) sort(index, sign);
    else body.append(...rows.map(({ row }) => row));
  });
  tools.append(labelled("Sort by", order, "phone"));

  if (heads.some((head) => head.classList.contains("more"))) {
    const all = make("input", "", { type: "checkbox" });
    all.addEventListener("change", () => sheet.classList.toggle("all", all.checked));
    const tick = make("label", "", { className: "tick phone" });
    tick.append(all, "all figures");
    tools.append(tick);
  }
  const save = make("button", "Save as CSV", { type: "button" });
  save.addEventListener("click", () => download(csv(titles, shown().map(({ texts }) => texts))));
  tools.append(save, count);
  sheet.querySelector(".wide").before(tools);
  show();

  function shown() {
    const byRow = new Map(rows.map((each) => [each.row, each]));
    return [...body.rows].filter((row) => !row.hidden).map((row) => byRow.get(row));
  }

  function show() {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const { row, texts } of rows) {
      const text = texts.join(" ").toLowerCase();
      const fits = filters.every(({ index, select, values }) =>
        select.value === "" || texts[index] === values[Number(select.value)]);
      row.hidden = !(fits && words.every((word) => text.includes(word)));
    }
    const visible = rows.filter(({ row }) => !row.hidden).length;
    count.textContent = visible === rows.length ? `${visible} rows` : `${visible} of ${rows.length} rows`;
  }

  function sort(index, sign) {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[index].setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const keyed = rows.map((each) => ({ ...each, key: sortKey(each.texts[index]) }));
    keyed.sort((a, b) => compare(a.key, b.key, sign));
    body.append(...keyed.map(({ row }) => row));
  }
}

function labelled(text, input, className = "") {
  const label = make("label", text, { className });
  label.append(input);
  return label;
}

// The text of a cell, without the numbers of its notes and without what a verdict unfolds.
function cellText(cell) {
  const summary = cell.querySelector("summary");
  if (summary) return summary.textContent.trim();
  return [...cell.childNodes].filter((node) => !["SUP", "BUTTON"].includes(node.nodeName))
    .map((node) => node.textContent).join("").trim();
}

// '≤ 1,234 ±5' is 1234. An absent figure is null, and a text is itself.
function sortKey(text) {
  if (text === "–" || text === "") return null;
  const matched = /^[≤≥~<]?\s*([+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?)/i.exec(text);
  return matched ? Number(matched[1].replaceAll(",", "")) : text;
}

// Numbers before texts; absent ones are last in both directions.
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a !== typeof b) return sign * (typeof a === "number" ? -1 : 1);
  return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
}

// A text that a spreadsheet would take for a formula gets a ' in front, as in report/escape.py.
function csv(titles, rows) {
  const field = (text) => {
    const safe = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(text) ? "'" + text : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = [titles, ...rows.map((row) => row.map((text) => (text === "–" ? "" : text)))];
  return lines.map((line) => line.map(field).join(",")).join("\n") + "\n";
}

function download(text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", "", { href: url, download: `${document.title}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
