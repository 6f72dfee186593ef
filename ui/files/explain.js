// Of an explanation: leads from what is said of a hit to its picture, and copies all of it as text.
element.addEventListener('click', async (event) => {
  const link = event.target.closest('a[href^="#"]'), button = event.target.closest('button');
  if (link) {
    // Addresses in Gradio's pages start at the first page, so the browser would go there.
    event.preventDefault();
    document.getElementById(link.hash.slice(1))?.focus();
  } else if (button) {
    const field = element.querySelector('textarea');
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      // Pages that are not reached by HTTPS have no clipboard; the browser copies what is selected in the field.
      field.select();
      document.execCommand('copy');
      button.focus();
    }
    button.textContent = 'Copied';
  }
});
