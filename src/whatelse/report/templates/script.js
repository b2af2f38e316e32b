"use strict";
(() => {
  // What has details: the cells of a table line by line, or the points of figures, each figure a line.
  const placed = (figure) => [...figure.querySelectorAll(".trial")]
    .reduce((line, point) => { line[Number(point.dataset.column)] = point; return line; }, []);
  const lines = [...document.querySelectorAll(".verdicts tbody tr")]
    .map((line) => [...line.cells].slice(1).map((cell) => cell.querySelector("button.verdict")))
    .concat([...document.querySelectorAll("svg.front")].map(placed))
    .filter((line) => line.some(Boolean));
  const buttons = lines.flat().filter(Boolean);
  const tipOf = (button) => document.getElementById(button.getAttribute("aria-describedby"));
  let open = null;
  let kept = false;
  let timer = 0;

  function place(button, tip) {
    const at = button.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left), document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = at.bottom + 6;
    const fits = below + tip.offsetHeight <= window.innerHeight - 8;
    const top = fits ? below : at.top - tip.offsetHeight - 6 >= 8 ? at.top - tip.offsetHeight - 6
      : Math.max(8, window.innerHeight - tip.offsetHeight - 8);
    tip.style.inset = `${top}px auto auto ${Math.max(8, left)}px`;
  }
  function hide() {
    clearTimeout(timer);
    if (!open) return;
    tipOf(open).hidePopover();
    open.setAttribute("aria-expanded", "false");
    open = null;
    kept = false;
  }
  function show(button, keep) {
    clearTimeout(timer);
    if (open !== button) {
      hide();
      tipOf(button).showPopover();
      place(button, tipOf(button));
      button.setAttribute("aria-expanded", "true");
      open = button;
    }
    kept = kept || keep;
  }
  function later(act, wait) {
    clearTimeout(timer);
    timer = setTimeout(act, wait);
  }
  function choose(button) {
    buttons.forEach((other) => { other.tabIndex = other === button ? 0 : -1; });
  }
  function next(button, key) {
    const row = lines.findIndex((line) => line.includes(button));
    const column = lines[row].indexOf(button);
    const along = lines[row].filter(Boolean);
    const place = along.indexOf(button);
    const upright = (rows) => rows.map((line) => line[column]).find(Boolean);
    return {
      ArrowRight: () => along[place + 1],
      ArrowLeft: () => along[place - 1],
      ArrowDown: () => upright(lines.slice(row + 1)),
      ArrowUp: () => upright(lines.slice(0, row).reverse()),
      Home: () => along[0],
      End: () => along[along.length - 1],
    }[key];
  }

  buttons.forEach((button) => {
    const tip = tipOf(button);
    button.removeAttribute("popovertarget");
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("focus", () => {
      choose(button);
      if (button.matches(":focus-visible")) show(button, true);
    });
    button.addEventListener("blur", () => { if (open === button) hide(); });
    button.addEventListener("click", () => {
      const again = open === button && kept && !button.matches(":focus-visible");
      if (again) hide(); else show(button, true);
    });
    button.addEventListener("keydown", (event) => {
      const step = next(button, event.key);
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const target = step();
      if (target) target.focus();
    });
    [button, tip].forEach((part) => {
      part.addEventListener("pointerenter", (event) => {
        const mine = part === button || open === button; // one tip may be of many
        if (mine && event.pointerType === "mouse") later(() => show(button, false), open ? 0 : 90);
      });
      part.addEventListener("pointerleave", (event) => {
        if (event.pointerType === "mouse") later(() => { if (!kept) hide(); }, 160);
      });
    });
  });
  if (buttons.length) choose(buttons[0]);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("pointerdown", (event) => {
    if (open && !open.contains(event.target) && !tipOf(open).contains(event.target)) hide();
  });
  window.addEventListener("resize", hide);
  window.addEventListener("scroll", () => { if (open) place(open, tipOf(open)); }, { passive: true, capture: true });

  // What an address inside the page points at is unfolded, whichever part of it is folded.
  function unfold() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) return;
    const part = target.matches("section") ? target.querySelector("details.fold") : target.closest("details");
    if (part && !part.open) { part.open = true; target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", unfold);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (link && location.hash && link.getAttribute("href") === location.hash) unfold();
  });
  unfold();

  let folded = [];
  window.addEventListener("beforeprint", () => {
    hide();
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => { one.open = true; });
  });
  window.addEventListener("afterprint", () => { folded.forEach((one) => { one.open = false; }); });
})();
