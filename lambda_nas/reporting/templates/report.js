"use strict";

// Draw the stored figures in the page's colors, and smaller on a phone.
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 600px)");
const touch = matchMedia("(pointer: coarse)");
const figures = [...document.querySelectorAll(".figure")].map((box) => {
  const stored = box.querySelector("script");
  stored.remove();
  return { box, stored: JSON.parse(stored.textContent) };
});

function draw({ box, stored }) {
  const { data, layout } = structuredClone(stored);
  layout.font.color = getComputedStyle(document.body).color;
  // A finger that scrolls the page must not zoom into a figure.
  if (touch.matches) layout.dragmode = false;
  if (narrow.matches) {
    layout.font.size = 11;
    layout.margin = { ...layout.margin, l: 44, r: 10 };
    // Labels would overlap; a tap on a point shows them. Without labels the front needs no room
    // on the right.
    for (const trace of data.filter(({ mode }) => mode === "markers+text")) {
      trace.mode = "markers";
      delete layout.xaxis.range;
    }
  }
  return Plotly.react(box, data, layout, { responsive: true, displaylogo: false, displayModeBar: narrow.matches ? false : "hover" });
}

for (const figure of figures) draw(figure);
for (const query of [dark, narrow]) query.addEventListener("change", () => figures.forEach(draw));

// Say so where a table goes on beside or below what is seen of it.
const showMore = () => {
  for (const box of document.querySelectorAll(".scroll")) {
    const more = [
      ...(box.scrollWidth > box.clientWidth ? ["columns \u2192"] : []),
      ...(box.scrollHeight > box.clientHeight ? ["rows \u2193"] : []),
    ];
    box.nextElementSibling.textContent = more.length ? `Scroll for more ${more.join(" and ")}` : "";
  }
};
addEventListener("resize", showMore);
showMore();

// Copy a command; without a clipboard, select its text instead.
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.text);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
}

// The table of trials: a click on a column head sorts, a second click reverses the order.
const table = document.querySelector(".sortable");
if (table) {
  const body = table.tBodies[0];
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
  };
  const compare = (one, other) => {
    if (typeof one === typeof other) return one < other ? -1 : one > other ? 1 : 0;
    return typeof one === "number" ? -1 : 1;
  };
  const heads = [...table.querySelectorAll("th button")].map((button) => button.parentElement);
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    // Unknown values go last in either order.
    const known = ([value]) => value !== "";
    const sorted = rows.filter(known).sort(([one], [other]) => sign * compare(one, other));
    body.append(...[...sorted, ...rows.filter((pair) => !known(pair))].map(([, row]) => row));
  }));

  const form = document.querySelector(".filter");
  const filter = () => {
    const layers = form.layers.value.match(/\d+/g) ?? [];
    const [top1, speedup] = [parseFloat(form.top1.value), parseFloat(form.speedup.value)];
    let shown = 0;
    for (const row of body.rows) {
      const removed = row.dataset.layers.split(" ");
      row.hidden = Boolean(form.state.value && row.dataset.state !== form.state.value)
        || layers.some((layer) => !removed.includes(layer))
        || row.dataset.top1 < top1 || row.dataset.speedup < speedup;
      shown += !row.hidden;
    }
    form.querySelector("output").textContent = `${shown} of ${body.rows.length}`;
    showMore();
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}
