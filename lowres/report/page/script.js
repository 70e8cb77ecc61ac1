"use strict";
(() => {
  const hear = document.querySelector("[role=status]");
  const empty = "–";
  const raw = (cell) => (cell.dataset.v ? cell.dataset.v.split(",") : null);
  const text = (cell) => cell.textContent.trim();

  const compare = (one, other) => {
    const left = raw(one), right = raw(other);
    if (left && right) return Number(left[0]) - Number(right[0]);
    if (left || right) return left ? -1 : 1;
    return text(one).localeCompare(text(other), undefined, { numeric: true });
  };

  const sort = (table, column, heading, name) => {
    const rising = heading.getAttribute("aria-sort") !== "ascending";
    const rows = [...table.tBodies[0].rows];
    const order = rows.map((row, place) => [row.cells[column], place, row]);
    order.sort(([one, first], [other, second]) => {
      const none = (text(one) === empty) - (text(other) === empty);
      return none || (rising ? compare(one, other) : compare(other, one)) || first - second;
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    table.tBodies[0].append(...order.map(([, , row]) => row));
    hear.textContent = `sorted by ${name}, ${rising ? "ascending" : "descending"}`;
  };

  const safe = (value) => (/^\s*[=+\-@＝＋－＠]/.test(value) ? "'" + value : value);
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

  const csv = (table) => {
    const rows = [...table.tBodies[0].rows];
    const names = [...table.tHead.rows[0].cells].map(text);
    const three = names.map((_, place) => rows.some((row) => (raw(row.cells[place]) || []).length === 3));
    const line = (cell, place) => {
      const found = raw(cell);
      if (three[place]) return found || ["", "", ""];
      return found || [text(cell) === empty ? "" : safe(text(cell))];
    };
    const head = names.flatMap((name, place) => (three[place] ? [name, `${name} low`, `${name} high`] : [name]));
    const body = rows.map((row) => [...row.cells].flatMap(line));
    return [head.map(safe), ...body].map((values) => values.map(quoted).join(",")).join("\n") + "\n";
  };

  const download = (button, table) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv;charset=utf-8" }));
    link.download = `${button.dataset.name}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    hear.textContent = `${link.download} downloaded`;
  };

  for (const table of document.querySelectorAll("table")) {
    for (const heading of table.tHead.rows[0].cells) {
      const name = text(heading), button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, heading.cellIndex, heading, name));
    }
  }
  for (const button of document.querySelectorAll("button.csv")) {
    button.hidden = false;
    button.addEventListener("click", () => download(button, button.closest(".grid").querySelector("table")));
  }

  const open = () => {
    const goal = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    for (let place = goal; place; place = place.parentElement) if (place.tagName === "DETAILS") place.open = true;
    if (goal) goal.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", open);
  open();
})();
