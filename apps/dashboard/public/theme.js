// Before anything is drawn, so that nobody is dazzled at night.
try {
  const chosen = localStorage.getItem('backstitch.theme')
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen
} catch {
  // Storage is forbidden here: the system's choice holds.
}
