// Which values images must have: Python is told all that are chosen, by column.
element.addEventListener('change', () => {
  const chosen = {};
  for (const box of element.querySelectorAll('input:checked')) {
    const {column} = box.closest('fieldset').dataset;
    (chosen[column] ??= []).push(JSON.parse(box.dataset.value));
  }
  trigger('select', {index: 0, value: chosen});
});
