// Sort a table by a click on a column head, and show which tables scroll.
document.querySelectorAll("table").forEach(table => {
  const body = table.tBodies[0];
  const value = row => cell => {
    const text = row.cells[cell].dataset.sort ?? row.cells[cell].textContent;
    const number = parseFloat(text.replace(/[^\d.+e-]*/, ""));
    return Number.isNaN(number) ? text : number;
  };
  table.querySelectorAll("thead th").forEach((head, column) => {
    const sort = () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const order = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a)(column), value(b)(column)];
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;  // empty cells last
        return (typeof x === "number" ? x - y : x.localeCompare(y)) * (falling ? -1 : 1);
      });
      body.append(...order);
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
});
