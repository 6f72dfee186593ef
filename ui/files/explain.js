// Copies the explanation as text. Pages that are not reached by HTTPS have no clipboard of their own: there the
// browser copies what is selected in the text field.
element.addEventListener('click', async (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  const field = element.querySelector('textarea');
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    field.select();
    document.execCommand('copy');
    button.focus();
  }
  button.textContent = 'Copied';
});
