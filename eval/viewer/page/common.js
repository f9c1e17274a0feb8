// Shared by the modules of the page. Texts are only ever set as text.
export const one = (id) => document.getElementById(id);

export const make = (tag, settings = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), settings);
  made.append(...children);
  return made;
};

export const count = (number) => number.toLocaleString("en");

// A document of the server; its errors are meant to be read.
export const ask = async (name, query = {}, options = {}) => {
  let answer;
  try {
    answer = await fetch(`${name}?${new URLSearchParams(query)}`, options);
  } catch {
    throw new Error("The viewer does not answer. Start it again, and open its new address.");
  }
  const found = await answer.json();
  if (!answer.ok || found.error) throw new Error(found.error);
  return found;
};

export const send = (name, body) => ask(name, {}, {
  method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
});

export const picture = (row, side) => {
  const image = make("img", { alt: row.alt, loading: "lazy", decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= 64));
  image.addEventListener("error", () => image.classList.add("broken"));
  image.src = `image?row=${row.row}&side=${side}`;
  return image;
};

export const copies = (button, text) => button.addEventListener("click", async () => {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text());
    button.textContent = "Copied";
  } catch {
    const code = button.parentElement.querySelector("code");
    if (code) getSelection().selectAllChildren(code);
    button.textContent = code ? "Selected" : "Not allowed by the browser";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
});
