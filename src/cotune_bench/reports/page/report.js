"use strict";
// #cell=TABLE/DATA/METHOD/RATE opens the runs of a cell; #sort=TABLE/COLUMN/ascending|descending sorts a table.
(() => {
  document.documentElement.classList.add("js");

  const number = (text) => parseFloat(text.replace(/^[<*\s]+/, ""));
  const missing = (text) => text === "" || text.startsWith("–");

  function compare(a, b, numeric, sign) {
    if (missing(a) || missing(b)) return missing(a) - missing(b); // last, whichever the direction
    return sign * (numeric ? number(a) - number(b) : a.localeCompare(b, "en"));
  }

  function sort(table, column, direction) {
    table.querySelectorAll("th[aria-sort]").forEach((head) => head.removeAttribute("aria-sort"));
    const head = table.querySelector(`th[data-column="${column}"]`);
    if (!head) return;
    if (direction !== "none") head.setAttribute("aria-sort", direction);
    for (const body of table.tBodies) { // data sets stay together
      const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
      const text = (row) => row.cells[column].textContent.trim();
      const texts = rows.map(text).filter((one) => !missing(one));
      const numeric = texts.every((one) => !Number.isNaN(number(one)));
      const sign = direction === "descending" ? -1 : 1;
      rows.sort((a, b) => (direction === "none" ? 0 : compare(text(a), text(b), numeric, sign)) || a.place - b.place);
      body.append(...rows);
    }
  }

  function next(head) {
    const now = head.getAttribute("aria-sort");
    if (!now) return head.dataset.column === "0" ? "ascending" : "descending"; // the best first
    const first = head.dataset.column === "0" ? "ascending" : "descending";
    return now === first ? (first === "ascending" ? "descending" : "ascending") : "none";
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const body of table.tBodies) [...body.rows].forEach((row, place) => { row.place = place; });
    let column = 0;
    for (const head of table.querySelectorAll("thead th:not([colspan])")) {
      head.dataset.column = column++;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => {
        const direction = next(head);
        sort(table, head.dataset.column, direction);
        history.replaceState(null, "", direction === "none" ? "#" : `#sort=${table.id}/${head.dataset.column}/${direction}`);
      });
      head.append(button);
    }
  }

  const link = (place) => document.querySelector(`td a[href="#${CSS.escape(place)}"]`) ||
    [...document.querySelectorAll("td a")].find((one) => one.getAttribute("href") === `#${place}`);

  function open(place) {
    const runs = document.getElementById(place);
    const box = runs && runs.closest("details");
    if (!box) return;
    for (const other of box.parentElement.querySelectorAll(":scope > details[open]")) other.open = other === box;
    box.open = true;
    box.scrollIntoView({ block: "nearest" });
    box.querySelector("summary").focus({ preventScroll: true });
  }

  for (const box of document.querySelectorAll(".drill > details")) {
    const cell = link(box.querySelector("div[id]").id);
    box.addEventListener("toggle", () => {
      if (box.open) cell.setAttribute("aria-current", "true");
      else if (cell.hasAttribute("aria-current")) {
        cell.removeAttribute("aria-current");
        if (location.hash === cell.getAttribute("href")) { // closed by hand: back to its cell
          history.replaceState(null, "", "#");
          cell.focus({ preventScroll: true });
        }
      }
    });
    cell.addEventListener("click", (event) => {
      event.preventDefault();
      history.replaceState(null, "", cell.getAttribute("href"));
      open(cell.getAttribute("href").slice(1));
    });
  }

  for (const box of document.querySelectorAll("pre.command")) {
    const text = box.textContent.trim();
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch { // where a browser does not allow it, the text is at least chosen
        getSelection().selectAllChildren(box.querySelector("code"));
        button.textContent = "Press Ctrl+C";
      }
    });
    box.append(button);
  }

  function follow() {
    const place = location.hash.slice(1);
    const [table, column, direction] = place.replace(/^sort=/, "").split("/");
    if (place.startsWith("cell=")) open(place);
    else if (place.startsWith("sort=") && ["ascending", "descending"].includes(direction)) {
      const found = document.getElementById(table);
      if (found && found.matches("table.sortable")) sort(found, column, direction);
    }
  }
  addEventListener("hashchange", follow);
  follow();
})();
