(() => {
  // One trial is many points and a line of the table: whichever is pointed at, all of them are lit.
  const points = [...document.querySelectorAll(".front .trial")];
  const trialOf = (point) => point.getAttribute("aria-describedby").replace("tip-trial-", "");
  const same = new Map();
  points.forEach((point) => same.set(trialOf(point), [...(same.get(trialOf(point)) || []), point]));
  document.querySelectorAll("tr[data-trial]").forEach((line) => {
    const all = same.get(line.dataset.trial) || [];
    const light = (on) => [line, ...all].forEach((one) => one.classList.toggle("lit", on));
    [line, ...all].forEach((one) => {
      one.addEventListener("pointerenter", () => light(true));
      one.addEventListener("pointerleave", () => light(false));
      one.addEventListener("focus", () => light(true));
      one.addEventListener("blur", () => light(false));
    });
  });
  points.forEach((point) => {
    const title = point.querySelector("title");
    const here = document.getElementById(point.getAttribute("aria-describedby")).querySelector(".here");
    const budget = point.closest("figure").querySelector("figcaption b").textContent;
    point.setAttribute("role", "button");
    point.setAttribute("aria-label", title.textContent);
    title.remove();
    ["pointerenter", "focus"].forEach((kind) => point.addEventListener(kind, () => {
      here.textContent = `${budget}: ${point.getAttribute("aria-label").replace(/^[^:]*: /, "")}`;
    }));
  });

  const value = (line, at) => line.cells[at].dataset.sort;
  function compared(one, other) {
    if (one === "" || other === "") return (one === "") - (other === "");
    const difference = Number(one) - Number(other);
    return Number.isNaN(difference) ? one.localeCompare(other) : difference;
  }
  document.querySelectorAll(".sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const lines = [...table.tBodies[0].rows];
        const missing = (line) => value(line, at) === "";
        lines.sort((one, other) => missing(one) || missing(other) || !down
          ? compared(value(one, at), value(other, at)) : compared(value(other, at), value(one, at)));
        table.tBodies[0].append(...lines);
      });
    });
  });
})();
