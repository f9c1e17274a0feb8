// The page: wires its controls to the state, the facets, the grid and the dialog.
import { ask, copies, count, make, one, send } from "./common.js";
import * as detail from "./detail.js";
import * as facets from "./facets.js";
import * as grid from "./grid.js";
import { EMPTY, keep, query, read, state } from "./state.js";

const about = await ask("about");
let options = "";

const problem = (error) => {
  one("problem").textContent = error?.message ?? "";
  one("problem").hidden = !error;
};

const chips = () => {
  const chip = (text, clear) => {
    const button = make("button", { type: "button", title: "Remove this filter" }, make("bdi", { textContent: text }), " ×");
    button.addEventListener("click", () => { clear(); changed(); });
    return make("li", {}, button);
  };
  const found = Object.entries(state.clauses).map(([column, clauses]) => chip(clauses.join(" or "), () => { delete state.clauses[column]; }));
  if (state.like !== null) found.unshift(chip("most similar first", () => { state.like = null; }));
  one("chips").replaceChildren(...found);
};

const beside = () => {
  const others = Object.keys(about.configs).filter((name) => name !== state.config);
  one("beside").hidden = !state.config || !others.length;
  const boxes = others.map((name) => {
    const box = make("input", { type: "checkbox", value: name, checked: state.beside.includes(name) });
    box.disabled = !box.checked && state.beside.length >= about.most_beside;
    box.addEventListener("change", () => {
      state.beside = box.checked ? [...state.beside, name] : state.beside.filter((other) => other !== name);
      changed();
    });
    return make("label", {}, box, make("bdi", { textContent: name }));
  });
  one("beside").replaceChildren(one("beside").firstElementChild, ...boxes);
};

// Controls show the state.
const paint = () => {
  one("config").value = state.config;
  one("filter").value = state.filter;
  one("sort").value = state.sort;
  one("sort").disabled = state.like !== null;
  one("direction").textContent = state.descending ? "↓" : "↑";
  one("direction").setAttribute("aria-label", `Order: ${state.descending ? "descending" : "ascending"}`);
  one("show").value = state.marks;
  one("start").value = state.start + 1;
  beside();
  chips();
};

const refresh = async () => {
  paint();
  try {
    const [found, counted] = await Promise.all([grid.refresh(about, problem), ask("counts", query())]);
    if (!found) return;
    problem(null);
    facets.update(counted.counts);
    options = found.filter;
    one("copy-filter").hidden = !options;
    one("total").textContent = `${count(found.total)} ${found.total === 1 ? "image" : "images"}`;
  } catch (error) {
    problem(error);
  }
};

const changed = ({ start = 0 } = {}) => {
  state.start = start;
  keep();
  scrollTo({ top: 0 });
  return refresh();
};

const marked = (number) => {
  about.marked = number;
  one("marks-button").textContent = `${count(number)} marked`;
};

const mark = async (row) => {
  try {
    const done = await send("mark", { rows: [row.row], marked: !row.marked });
    row.marked = !row.marked;
    marked(done.marked);
    grid.paint(row);
    if (detail.isOpen() && detail.current() === row) detail.paint();
  } catch (error) {
    if (detail.isOpen()) detail.close();
    problem(error);
  }
};

const similar = (row) => {
  if (!about.similar) return help();
  if (detail.isOpen()) detail.close();
  [state.like, state.sort, state.beside] = [row.row, "", []];
  return changed();
};

const help = () => { if (detail.isOpen()) detail.close(); one("help").showModal(); };

const keys = (event) => {
  const typing = event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey;
  if (typing || one("help").open) return;
  const button = event.target.closest(".thumb") ?? grid.buttons().find((one) => one.tabIndex === 0);
  const row = detail.isOpen() ? detail.current() : grid.rowOf(button);
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (detail.isOpen() && step) { stepTo(step); }
  else if (!detail.isOpen() && event.key.startsWith("Arrow") && event.target.closest(".thumb")) grid.move(button, event.key);
  else if (event.key === "x" && row) mark(row);
  else if (event.key === "s" && row) similar(row);
  else if (event.key === "/") { if (detail.isOpen()) detail.close(); one("filter").focus(); }
  else if (event.key === "?") help();
  else return;
  event.preventDefault();
};

const stepTo = (by) => { const next = grid.step(detail.current(), by); if (next) detail.open(next); };

const build = () => {
  document.title = `${about.title} - data-factory view`;
  one("title").textContent = about.title;
  one("size").textContent = `${count(about.rows)} images${about.unfinished.length ? `; not finished, not shown: ${about.unfinished.join(", ")}` : ""}`;
  one("config").append(new Option(`all (${count(about.rows)})`, ""), ...Object.entries(about.configs).map(([name, size]) => new Option(`${name} (${count(size)})`, name)));
  one("sort").append(new Option("stored order", ""), ...about.sortable.map((name) => new Option(name, name)));
  for (const [id, text] of [["marks-file", about.marks_file], ["marks-command", about.marks_command], ["similar-command", about.similar_command]]) one(id).textContent = text;
  marked(about.marked);
  facets.build(about, changed);
  grid.build(about, detail.open, problem);
  detail.build(about, { step: stepTo, mark, similar, closed: (row) => grid.focus(grid.buttonOf(row)) });
};

const wire = () => {
  const on = (id, event, act) => one(id).addEventListener(event, act);
  let wait = 0;
  on("filter", "input", () => { clearTimeout(wait); wait = setTimeout(() => { state.filter = one("filter").value.trim(); changed(); }, 350); });
  on("config", "change", () => { state.config = one("config").value; state.beside = state.beside.filter((name) => name !== state.config && state.config); changed(); });
  on("sort", "change", () => { state.sort = one("sort").value; changed(); });
  on("show", "change", () => { state.marks = one("show").value; changed(); });
  on("start", "change", () => changed({ start: Math.max(0, Math.floor(Number(one("start").value) || 1) - 1) }));
  on("direction", "click", () => { state.descending = !state.descending; changed(); });
  const size = () => document.documentElement.style.setProperty("--cell", `${one("cell").value}px`);
  on("cell", "input", size);
  on("tools", "submit", (event) => event.preventDefault());
  on("side-button", "click", () => { const open = document.body.classList.toggle("side"); one("side-button").setAttribute("aria-expanded", String(open)); });
  on("help-button", "click", help);
  on("marks-button", "click", () => { state.marks = state.marks === "marked" ? "" : "marked"; changed(); });
  copies(one("copy-filter"), () => options);
  copies(one("copy-marks"), () => about.marks_command);
  copies(one("copy-similar"), () => about.similar_command);
  on("help", "click", (event) => { if (event.target === one("help")) one("help").close(); });
  document.addEventListener("keydown", keys);
  addEventListener("popstate", () => { read(); refresh(); });
  if (matchMedia("(max-width: 640px)").matches) one("cell").value = 104;
  size();
};

read();
build();
wire();
await refresh();
