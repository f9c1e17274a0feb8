"use strict";
(() => {
  document.documentElement.classList.add("js");
  const all = (query, inside = document) => [...inside.querySelectorAll(query)];
  const one = (id) => document.getElementById(id);
  const data = JSON.parse(one("data").textContent);

  // Panels: one of a group is shown.
  for (const select of all("select[data-switch]")) {
    const panels = all(`[data-panel="${select.dataset.switch}"]`);
    const show = () => panels.forEach((panel) => { panel.hidden = panel.dataset.key !== select.value; });
    select.addEventListener("change", show);
    show();
  }

  // Lines: hovering a key shows its line alone, selecting it keeps it.
  for (const figure of all(".curves")) {
    const keys = all("[data-highlight]", figure);
    const show = (number) => {
      for (const chart of all(".chart", figure)) {
        chart.classList.toggle("dim", number !== null);
        all(".line", chart).forEach((line) => line.classList.toggle("on", line.dataset.line === number));
      }
    };
    const kept = () => keys.find((key) => key.getAttribute("aria-pressed") === "true")?.dataset.highlight ?? null;
    for (const key of keys) {
      key.addEventListener("mouseenter", () => show(key.dataset.highlight));
      key.addEventListener("mouseleave", () => show(kept()));
      key.addEventListener("click", () => {
        const on = key.getAttribute("aria-pressed") !== "true";
        keys.forEach((other) => other.setAttribute("aria-pressed", String(on && other === key)));
        show(kept());
      });
    }
  }

  // Rows of images.
  const dialog = one("row");
  const thumbs = all(".thumb");
  let shown = null;
  const visible = () => thumbs.filter((thumb) => thumb.offsetParent !== null);
  const open = (thumb) => {
    const row = data.rows[Number(thumb.dataset.id)];
    const image = thumb.querySelector("img");
    shown = thumb;
    one("row-title").textContent = `${row.label}, ${row.config}`;
    one("row-image").src = image.src;
    one("row-image").alt = image.alt;
    one("row-image").style.imageRendering = image.naturalWidth <= 64 ? "pixelated" : "auto";
    one("row-cells").replaceChildren(...data.columns.flatMap((name, place) => {
      const value = row.values[place];
      if (value === undefined || value === null) return [];
      const line = document.createElement("tr");
      const head = line.appendChild(document.createElement("th"));
      head.scope = "row";
      head.textContent = name;
      const cell = line.appendChild(document.createElement("td"));
      cell.dir = "auto";
      cell.textContent = value;
      return [line];
    }));
    one("row-command").textContent = `data-factory replay OUT --config ${row.config} --index ${row.values[data.columns.indexOf("index")] ?? "I"}`;
    if (!dialog.open) dialog.showModal();
  };
  const step = (by) => {
    const list = visible();
    const next = list[list.indexOf(shown) + by];
    if (next) open(next);
  };
  thumbs.forEach((thumb) => thumb.addEventListener("click", () => open(thumb)));
  one("row-before").addEventListener("click", () => step(-1));
  one("row-after").addEventListener("click", () => step(1));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => shown?.focus());

  // Filter of the contact sheets: config, class, and a column's value or range.
  const filters = one("filters");
  const [byConfig, byClass, byColumn, byValue] = ["by-config", "by-class", "by-column", "by-value"].map(one);
  byColumn.append(...data.columns.map((name) => new Option(name, name)));
  if (data.columns.includes("prompt")) byColumn.value = "prompt";
  const range = /^\s*(-?[\d.]+(?:e[-+]?\d+)?)\s*\.\.\s*(-?[\d.]+(?:e[-+]?\d+)?)\s*$/i;
  const matcher = () => {
    const place = data.columns.indexOf(byColumn.value);
    const text = byValue.value.trim();
    const ends = range.exec(text);
    return (row) => {
      if (byClass.value && row.label !== byClass.value) return false;
      if (!text) return true;
      const value = row.values[place];
      if (value === undefined || value === null) return false;
      if (!ends) return value.toLowerCase().includes(text.toLowerCase());
      const number = Number(value.replaceAll(",", ""));
      // Rows show four digits: the ends get half of the last one.
      const slack = 6e-4 * Math.max(Math.abs(Number(ends[1])), Math.abs(Number(ends[2])));
      return number >= Number(ends[1]) - slack && number <= Number(ends[2]) + slack;
    };
  };
  const filter = () => {
    const fits = matcher();
    let count = 0;
    for (const sheet of all(".sheet")) {
      sheet.hidden = byConfig.value !== "" && sheet.dataset.sheet !== byConfig.value;
      for (const strip of all(".strip", sheet)) {
        let any = false;
        for (const thumb of all(".thumb", strip)) {
          const fit = fits(data.rows[Number(thumb.dataset.id)]);
          thumb.hidden = !fit;
          any ||= fit;
          count += fit && !sheet.hidden ? 1 : 0;
        }
        strip.hidden = !any;
      }
    }
    one("matches").textContent = `${count} ${count === 1 ? "image" : "images"}`;
  };
  const values = () => {
    const place = data.columns.indexOf(byColumn.value);
    const known = [...new Set(data.rows.map((row) => row.values[place]))].filter((value) => value !== null && value !== undefined);
    one("values").replaceChildren(...known.slice(0, 200).map((value) => new Option(value)));
  };
  for (const input of [byConfig, byClass, byValue]) input.addEventListener("input", filter);
  byColumn.addEventListener("input", () => { values(); filter(); });
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(() => { if (data.columns.includes("prompt")) byColumn.value = "prompt"; values(); filter(); }));
  values();
  filter();

  // Bars of distributions choose the images.
  const pick = (bar) => {
    if ([...byConfig.options].some((option) => option.value === bar.dataset.config)) byConfig.value = bar.dataset.config;
    byClass.value = "";
    byColumn.value = bar.dataset.column;
    byValue.value = bar.dataset.value;
    values();
    filter();
    one("images").scrollIntoView();
    byValue.focus({ preventScroll: true });
  };
  for (const bar of all(".pick")) {
    bar.addEventListener("click", () => pick(bar));
    if (bar.tagName === "rect") bar.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(bar); } });
  }

  // t-SNE: colours by origin, config or class; a key isolates its images; a dot shows its image.
  const scatter = one("scatter");
  if (scatter) {
    const dots = [...scatter.children].map((dot) => ({ dot, numbers: dot.dataset.d.split(" ") }));
    const kinds = ["origin", "config", "label"];
    const legends = Object.fromEntries(kinds.map((kind) => [kind, document.querySelector(`[data-legend="${kind}"]`)]));
    // Eight colours of Okabe and Ito; ten of Tol, two of them lighter for dark pages; more classes are distinguished by isolating them.
    const ten = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#8877dd", "#ee7733", "#009988", "#a6642d"];
    const colour = (number, total) => total <= 8 ? `var(--c${number % 8})` : total <= 10 ? ten[number % 10] : `hsl(${Math.round(137.5 * number) % 360} ${55 + 20 * (number % 2)}% ${42 + 9 * (number % 3)}%)`;
    let kind = "origin";
    const paint = () => {
      const total = legends[kind].children.length;
      const isolated = all('[aria-pressed="true"]', legends[kind]).map((key) => key.dataset.isolate);
      for (const { dot, numbers } of dots) {
        const number = numbers[kinds.indexOf(kind)];
        dot.style.setProperty("--c", colour(Number(number), total));
        dot.classList.toggle("faint", isolated.length > 0 && !isolated.includes(number));
      }
      for (const key of all(".key", legends[kind])) key.style.setProperty("--c", colour(Number(key.dataset.isolate), total));
      for (const name of kinds) legends[name].hidden = name !== kind;
    };
    all('input[name="colour"]').forEach((radio) => radio.addEventListener("change", () => { kind = radio.value; paint(); }));
    for (const name of kinds) all(".key", legends[name]).forEach((key) => key.addEventListener("click", () => {
      key.setAttribute("aria-pressed", String(key.getAttribute("aria-pressed") !== "true"));
      paint();
    }));
    paint();

    const tip = one("tip");
    const plot = scatter.parentElement;
    const columns = Number(plot.dataset.columns);
    const rows = Math.ceil(dots.length / columns);
    const name = (kindName, number) => legends[kindName].querySelector(`[data-isolate="${number}"]`)?.textContent ?? "";
    let at = -1;
    const show = (place) => {
      dots[at]?.dot.classList.remove("at");
      at = place;
      if (place < 0) { tip.hidden = true; return; }
      const { dot, numbers } = dots[place];
      dot.classList.add("at");
      const image = document.createElement("i");
      image.style.backgroundImage = `url(${one("sprite").src})`;
      image.style.backgroundSize = `${80 * columns}px ${80 * rows}px`;
      image.style.backgroundPosition = `-${80 * (place % columns)}px -${80 * Math.floor(place / columns)}px`;
      const text = document.createElement("span");
      text.textContent = `${name("label", numbers[2])}, ${name("config", numbers[1])}`;
      tip.replaceChildren(image, text);
      tip.hidden = false;
      const box = dot.getBoundingClientRect();
      tip.style.left = `${Math.max(8, Math.min(box.right + 10, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${Math.max(8, Math.min(box.top - 40, innerHeight - tip.offsetHeight - 8))}px`;
    };
    const nearest = (event) => {
      const box = scatter.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) * 760 / box.width, (event.clientY - box.top) * 560 / box.height];
      let [best, distance] = [-1, 144];
      dots.forEach(({ dot }, place) => {
        if (dot.classList.contains("faint")) return;
        const [dx, dy] = dot.cx ? [dot.cx.baseVal.value - x, dot.cy.baseVal.value - y] : [dot.x.baseVal.value + 2.6 - x, dot.y.baseVal.value + 2.6 - y];
        if (dx * dx + dy * dy < distance) [best, distance] = [place, dx * dx + dy * dy];
      });
      return best;
    };
    scatter.addEventListener("pointermove", (event) => show(nearest(event)));
    scatter.addEventListener("pointerleave", () => show(-1));
    scatter.addEventListener("blur", () => show(-1));
    scatter.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") show(-1);
      if (!by) return;
      event.preventDefault();
      const free = dots.map((_, place) => place).filter((place) => !dots[place].dot.classList.contains("faint"));
      show(free[(free.indexOf(at) + by + free.length) % free.length] ?? -1);
    });
  }

  // Commands.
  for (const button of all(".copy")) button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try { await navigator.clipboard.writeText(code.textContent); button.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(code); button.textContent = "Selected"; }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });

  // Contents: the section that is read.
  const links = new Map(all(".contents a").map((link) => [link.getAttribute("href").slice(1), link]));
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) {
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "0px 0px -75% 0px" });
  all("main > section").forEach((section) => observer.observe(section));
})();
