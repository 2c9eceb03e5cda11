// Headings become buttons; a click sorts all tables of the box together, the
// unknown always last, and each table keeps its number of rows.
for (const box of document.querySelectorAll(".sortable")) {
  const bodies = [...box.querySelectorAll("tbody")];
  const sizes = bodies.map((body) => body.rows.length);
  const heads = [...box.querySelectorAll("thead tr")];
  const sort = (column, down) => {
    const value = (row) => row.cells[column].textContent;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "–" || y === "–") return (x === "–") - (y === "–");
      const gap = x - y;
      const order = Number.isNaN(gap) ? x.localeCompare(y) : gap;
      return down ? -order : order;
    };
    const rows = bodies.flatMap((body) => [...body.rows]).sort(compare);
    bodies.forEach((body, i) => body.append(...rows.splice(0, sizes[i])));
    for (const head of heads) {
      for (const cell of head.cells) cell.removeAttribute("aria-sort");
      const said = down ? "descending" : "ascending";
      head.cells[column].setAttribute("aria-sort", said);
    }
  };
  for (const head of heads) {
    [...head.cells].forEach((cell, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...cell.childNodes);
      button.addEventListener("click", () =>
        sort(column, cell.getAttribute("aria-sort") === "ascending"),
      );
      cell.append(button);
    });
  }
}
