// Before the first paint, so that nothing flashes in the other theme.
try {
  const theme = JSON.parse(localStorage.getItem("chainkit.theme"));
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* a browser that keeps nothing follows the system */ }
