(() => {
  "use strict";
  document.documentElement.classList.add("js");

  // The timeline's own tooltips are slow and small; these show the same text at once.
  const tip = document.body.appendChild(document.createElement("div"));
  tip.id = "tip";
  const chart = document.querySelector(".timeline");
  if (chart) {
    chart.addEventListener("mousemove", (event) => {
      const bar = event.target.closest("g");
      const title = bar && bar.querySelector("title");
      if (title) { bar.dataset.tip = title.textContent; title.remove(); }
      if (!bar || !bar.dataset.tip) { tip.style.display = "none"; return; }
      tip.textContent = bar.dataset.tip;
      tip.style.display = "block";
      const box = tip.getBoundingClientRect();
      tip.style.left = Math.min(event.clientX + 14, innerWidth - box.width - 8) + "px";
      tip.style.top = Math.min(event.clientY + 16, innerHeight - box.height - 8) + "px";
    });
    chart.addEventListener("mouseleave", () => { tip.style.display = "none"; });
  }

  const table = document.getElementById("tests");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const text = document.getElementById("filter");
  const outcome = document.getElementById("outcome");
  const shown = document.getElementById("shown");
  const names = rows.map((row) => row.cells[1].textContent.toLowerCase());

  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, index) => {
      const fits = words.every((word) => names[index].includes(word))
        && (!outcome.value || row.cells[0].textContent === outcome.value
          || (outcome.value === "flaky" && names[index].endsWith("flaky")));
      row.hidden = !fits;
      count += fits;
    });
    shown.textContent = count === rows.length ? "" : count + " of " + rows.length;
  };
  let waiting = 0;
  text.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  outcome.addEventListener("change", filter);

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent;
  };
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th[data-sort]");
    if (!head) return;
    const down = head.getAttribute("aria-sort") === "ascending"
      || (head.classList.contains("n") && !head.hasAttribute("aria-sort"));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = rows.map((row) => [key(row, head.cellIndex), row]);
    keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1));
    body.append(...keyed.map(([, row]) => row));
  });
})();
