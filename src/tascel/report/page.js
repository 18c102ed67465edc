"use strict";
{
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const tell = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(root.dataset.theme !== undefined));
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  tell();

  // An answer shows one pass at a time: the one pointed at, or walked to.
  for (const article of document.querySelectorAll("article")) {
    const steps = [...article.querySelectorAll(".step")];
    const passes = [...article.querySelectorAll(".passes li")];
    const show = (at) => {
      for (const each of [steps, passes]) each.forEach((item, i) => item.classList.toggle("on", i === at));
    };
    const walk = (at) => {
      steps.forEach((step, i) => { step.tabIndex = i === at ? 0 : -1; });
      steps[at].focus();
    };
    steps.forEach((step, at) => {
      step.addEventListener("pointerenter", () => show(at));
      step.addEventListener("click", () => walk(at));
      step.addEventListener("focus", () => show(at));
      step.addEventListener("keydown", (event) => {
        const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: steps.length - 1 }[event.key];
        if (event.key === "Escape") { show(-1); step.blur(); }
        if (to === undefined || !steps[to]) return;
        event.preventDefault();
        walk(to);
      });
    });
    show(steps.findIndex((_, at) => passes[at].querySelector(".branch")));
  }
}
