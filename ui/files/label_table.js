// The label set as a table: Python is told the whole table a moment after the last change, and makes YAML of it.
let timer = null;
const field = (place, name) => place.querySelector(`[name=${name}]`);

function told() {
  const table = element.querySelector('.label-table');
  const rows = [...table.querySelectorAll('tbody tr')].map((row) => ({
    name: field(row, 'label').value,
    present: field(row, 'present').value,
    absent: field(row, 'absent').value,
    threshold: field(row, 'threshold').value,
  }));
  return {name: field(table, 'name').value, mode: field(table, 'mode').value, rows};
}
function changed(wait) {
  element.querySelector('.label-table').dataset.isNewer = '';
  clearTimeout(timer);
  timer = setTimeout(() => trigger('select', {index: 0, value: told()}), wait);
}
document.addEventListener('input', (event) => {
  if (event.target.closest('#yaml')) delete element.querySelector('.label-table').dataset.isNewer;
});
// What a run takes: the table, if it was changed after the YAML.
window.labelTable = () => (element.querySelector('.label-table').dataset.isNewer === '' ? told() : null);
element.addEventListener('input', (event) => {
  if (event.target.name === 'mode') element.querySelector('.label-table').dataset.mode = event.target.value;
  changed(400);
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  const body = element.querySelector('tbody');
  if (button.matches('[data-add]')) {
    const row = body.rows[body.rows.length - 1].cloneNode(true);
    row.querySelectorAll('input, textarea').forEach((one) => { one.value = ''; });
    body.append(row);
    field(row, 'label').focus();
  } else if (button.matches('[data-remove]') && body.rows.length > 1) {
    const row = button.closest('tr');
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    field(next, 'label').focus();
    changed(0);
  }
});
