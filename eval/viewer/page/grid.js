// The images: more are loaded while scrolling; of several configs, a card per line.
import { ask, count, make, one, picture } from "./common.js";
import { query, state } from "./state.js";

const grid = one("grid");
let [rows, total, loaded, version, busy, opened] = [[], 0, 0, 0, false, () => {}];

export const buttons = () => [...grid.querySelectorAll(".thumb")];
export const rowOf = (button) => rows[Number(button?.dataset.place)];
export const buttonOf = (row) => buttons()[rows.indexOf(row)];
export const step = (row, by) => rows[rows.indexOf(row) + by];

export const paint = (row) => {
  const button = buttonOf(row);
  if (!button) return;
  button.classList.toggle("marked", row.marked);
  button.setAttribute("aria-label", `${row.alt}${row.marked ? " (marked as bad)" : ""}`);
};

// One image of the grid is in the order of the Tab key; arrow keys move among them.
export const focus = (button) => {
  if (!button) return;
  buttons().forEach((other) => { other.tabIndex = other === button ? 0 : -1; });
  button.focus();
};

const side = () => Number(one("cell").value) * devicePixelRatio > 160 ? 320 : 160;

const caption = (row) => {
  if (row.distance !== undefined) return row.distance > 64 ? `${row.label}, no hash` : `${row.label}, ${row.distance} bits`;
  return row.label;
};

const thumb = (row) => {
  rows.push(row);
  const button = make("button", { type: "button", className: "thumb", tabIndex: rows.length === 1 ? 0 : -1 }, picture(row, side()));
  button.dataset.place = String(rows.length - 1);
  button.addEventListener("click", () => opened(row));
  return button;
};

const cell = (row, text) => make("figure", {}, thumb(row), make("figcaption", {}, make("bdi", { textContent: text })));

const sorted = (row, columns) => state.sort && state.sort !== "label" ? `${row.label}, ${row.values[columns.indexOf(state.sort)]}` : caption(row);

const card = (line, found, place, configs) => {
  const known = new Map(found.rows.map((row) => [row.row, row]));
  const cells = line.map((number, column) => known.has(number)
    ? cell(known.get(number), configs[column])
    : make("figure", {}, make("span", { className: "absent", textContent: "none" }), make("figcaption", { textContent: configs[column] })));
  const first = known.get(line[0]);
  const text = `${first.label}, image ${first.index}`;
  return make("section", { className: "card" }, make("h2", {}, make("bdi", { textContent: text }), make("span", { className: "muted", textContent: found.same_seed[place] ? "same seed" : "seeds differ" })), make("div", { className: "line" }, ...cells));
};

const show = (found, columns) => {
  const chunk = make("div", { className: found.lines ? "chunk cards" : "chunk" });
  if (found.lines) chunk.append(...found.lines.map((line, place) => card(line, found, place, [state.config, ...state.beside])));
  else chunk.append(...found.rows.map((row) => cell(row, sorted(row, columns))));
  grid.append(chunk);
  rows.slice(-found.rows.length).forEach(paint);
  loaded += found.lines ? found.lines.length : found.rows.length;
  one("end").textContent = state.start + loaded >= total ? (total ? "" : "No image matches.") : `${count(state.start + loaded)} of ${count(total)}`;
};

const load = async (about) => {
  if (busy || (loaded && state.start + loaded >= total)) return null;
  [busy, grid.ariaBusy] = [true, "true"];
  const asked = version;
  try {
    const found = await ask("rows", { ...query(), start: state.start + loaded, size: loaded ? 120 : 60 });
    if (asked !== version) return null;
    if (!loaded) grid.replaceChildren();
    total = found.total;
    show(found, about.columns);
    return found;
  } finally {
    if (asked === version) [busy, grid.ariaBusy] = [false, "false"];
  }
};

// Fill the screen, and a part below it.
const more = async (about) => {
  const near = () => one("end").getBoundingClientRect().top < innerHeight + 1500;
  while (loaded && near() && await load(about));
};

// Show the first images of the state, and return the server's answer; null if it changed meanwhile.
export const refresh = async (about, failed) => {
  version += 1;
  [rows, loaded, busy] = [[], 0, false];
  grid.classList.add("stale");
  const found = await load(about);
  if (!found) return null;
  grid.classList.remove("stale");
  more(about).catch(failed);
  return found;
};

export const build = (about, open, failed) => {
  opened = open;
  new IntersectionObserver(() => more(about).catch(failed), { rootMargin: "1500px" }).observe(one("end"));
};

export const move = (button, key) => {
  const all = buttons();
  const place = all.indexOf(button);
  if (key === "ArrowLeft" || key === "ArrowRight") return focus(all[place + (key === "ArrowLeft" ? -1 : 1)]);
  const box = button.getBoundingClientRect();
  const below = key === "ArrowDown";
  const others = below ? all.slice(place + 1) : all.slice(0, place).reverse();
  const next = others.find((other) => { const near = other.getBoundingClientRect(); return Math.abs(near.top - box.top) > 8 && Math.abs(near.left - box.left) < box.width / 2; });
  return focus(next);
};
