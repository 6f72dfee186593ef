// Which values images must have: Python is told all that are chosen, by column.
function filters() {
  const chosen = {};
  for (const box of element.querySelectorAll('input:checked')) {
    const {column} = box.closest('fieldset').dataset;
    (chosen[column] ??= []).push(JSON.parse(box.dataset.value));
  }
  return chosen;
}
window.labelFilters = filters;
element.addEventListener('change', () => trigger('select', {index: 0, value: filters()}));
