// Facets: a bar per value, or a histogram of ranges; a click keeps the rows of a bar.
import { count, make, one } from "./common.js";
import { state, toggle } from "./state.js";

let facets = [];

const bar = (facet, place, changed) => {
  const button = make("button", { type: "button", className: facet.range ? "column" : "value" });
  button.append(make("i"));
  if (!facet.range) button.append(make("bdi", { textContent: facet.names[place] }), make("span"));
  button.addEventListener("click", () => { toggle(facet.column, facet.clauses[place]); changed(); });
  return button;
};

const ends = (facet) => {
  const first = facet.names[0].split(" to ")[0];
  const last = facet.names.at(-1).split(" to ")[1];
  return make("p", { className: "ends" }, make("span", { textContent: first }), make("span", { textContent: last }));
};

export const build = (about, changed) => {
  facets = about.facets.map((facet) => {
    const bars = facet.names.map((_, place) => bar(facet, place, changed));
    const box = make("div", { className: facet.range ? "histogram" : "values" }, ...bars);
    const heading = make("summary", {}, make("bdi", { textContent: facet.column }));
    const block = make("details", { className: "facet", open: facet.names.length <= 16 }, heading, box);
    if (facet.range) block.append(ends(facet));
    if (facet.rest) block.append(make("p", { className: "small", textContent: `${count(facet.rest)} more values: use the filter` }));
    return { ...facet, bars, block };
  });
  one("facets").replaceChildren(...facets.map((facet) => facet.block));
};

export const update = (counts) => facets.forEach((facet, number) => {
  const most = Math.max(...counts[number], 1);
  facet.bars.forEach((button, place) => {
    const found = counts[number][place];
    const on = (state.clauses[facet.column] ?? []).includes(facet.clauses[place]);
    const name = `${facet.column}: ${facet.names[place]}, ${count(found)} ${found === 1 ? "image" : "images"}`;
    button.style.setProperty("--share", found / most);
    button.setAttribute("aria-pressed", String(on));
    button.setAttribute("aria-label", name);
    button.title = name;
    button.classList.toggle("none", !found);
    if (!facet.range) button.lastChild.textContent = count(found);
  });
});
