// Light, dark, or as the system says. Storage may be forbidden for a page opened from a file: then it is not remembered.
{
  const KEY = "onnx-gapmil-theme";
  const ORDER = ["system", "light", "dark"];
  const root = document.documentElement;
  const button = byId("theme");

  const remembered = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const remember = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Nothing to do: the choice holds until the page is closed.
    }
  };
  const apply = (theme) => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };

  let theme = ORDER.includes(remembered()) ? remembered() : "system";
  apply(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    apply(theme);
    remember(theme);
  });

  // On paper nothing can be unfolded.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const item of opened) item.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const item of opened) item.open = false;
  });
}
