// Buttons of jobs, results and reviews: data-do names what is done with data-value; data-confirm asks first, data-hotkey
// is the key that presses it. What is drawn anew keeps the focus, what was opened stays open, and a picture that cannot
// be read is replaced by its thumbnail.
let focused = null;
const opened = new Set();

function act(button) {
  if (button.dataset.confirm && !window.confirm(button.dataset.confirm)) return;
  trigger('select', {index: 0, value: {do: button.dataset.do, value: button.dataset.value ?? ''}});
}
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-do]');
  if (button && !button.disabled) act(button);
});
element.addEventListener('focusin', (event) => { focused = event.target.dataset.key ?? null; });
element.addEventListener('focusout', (event) => { if (event.relatedTarget) focused = null; });
element.addEventListener('toggle', (event) => {
  const {key} = event.target.dataset;
  if (key && event.target.isConnected) event.target.open ? opened.add(key) : opened.delete(key);
}, true);
element.addEventListener('error', (event) => {
  const {instead} = event.target.dataset;
  if (!instead) return;
  delete event.target.dataset.instead;
  event.target.src = instead;
}, true);
window.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest('input, textarea, select, [contenteditable], [role=listbox], [role=combobox]')) return;
  const button = element.querySelector(`button[data-hotkey="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!button || button.disabled) return;
  event.preventDefault();
  act(button);
});
new MutationObserver(() => {
  for (const key of opened) {
    const details = element.querySelector(`details[data-key="${CSS.escape(key)}"]`);
    if (details && !details.open) details.open = true;
  }
  if (!focused || document.activeElement !== document.body) return;
  element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}).observe(element, {childList: true, subtree: true});
