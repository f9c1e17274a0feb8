// One image with its row.
import { copies, make, one } from "./common.js";

const dialog = one("detail");
let [shown, columns] = [null, []];

export const isOpen = () => dialog.open;
export const current = () => shown;

export const paint = () => {
  one("mark").setAttribute("aria-pressed", String(shown.marked));
  one("mark").textContent = shown.marked ? "Marked as bad" : "Mark as bad";
};

export const open = (row) => {
  shown = row;
  one("detail-title").textContent = `${row.label}, ${row.config}`;
  const image = one("detail-image");
  image.src = `image?row=${row.row}&side=0`;
  image.alt = row.alt;
  image.onload = () => image.classList.toggle("small", image.naturalWidth <= 96);
  one("cells").replaceChildren(...columns.map((name, place) => make("tr", {},
    make("th", { scope: "row", textContent: name }),
    make("td", { dir: "auto", textContent: row.values[place] }))));
  one("replay").textContent = row.replay;
  paint();
  if (!dialog.open) dialog.showModal();
};

export const close = () => dialog.close();

export const build = (about, { step, mark, similar, closed }) => {
  columns = about.columns;
  one("before").addEventListener("click", () => step(-1));
  one("after").addEventListener("click", () => step(1));
  one("mark").addEventListener("click", () => mark(shown));
  one("similar").addEventListener("click", () => similar(shown));
  copies(one("copy-replay"), () => shown.replay);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => closed(shown));
};
