// Pictures to look for: chosen, dropped anywhere on the page, or pasted into the box. Each is sent to the API, which
// answers with the token that a search names it by; Python is told the tokens and draws the previews.
const box = element.closest('.look-for');
const one = (selector) => element.querySelector(selector);
const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');

async function send(file) {
  const form = new FormData();
  form.append('file', file);
  try {
    const answer = await fetch('/v1/uploads', {method: 'POST', body: form});
    const told = await answer.json();
    return answer.ok ? {upload: told.upload} : {problem: told.detail};
  } catch {
    return {problem: 'The service did not answer; try it again.'};
  }
}

async function add(files) {
  if (!files.length) return;
  one('.problem').hidden = true;
  const uploads = [], problems = [];
  for (const [number, file] of files.entries()) {
    one('.state').textContent = `Reading picture ${number + 1} of ${files.length} …`;
    const {upload, problem} = await send(file);
    if (upload) uploads.push(upload); else problems.push(problem);
  }
  one('.state').textContent = '';
  one('.problem').textContent = [...new Set(problems)].join(' ');
  one('.problem').hidden = !problems.length;
  if (uploads.length) trigger('select', {index: 0, value: {do: 'add-pictures', value: uploads}});
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button?.matches('[data-add]')) one('input').click();
  if (button?.dataset.do) trigger('select', {index: 0, value: {do: button.dataset.do, value: JSON.parse(button.dataset.value)}});
});
element.addEventListener('change', (event) => {
  const files = [...event.target.files];
  event.target.value = '';
  add(files);
});
box.addEventListener('paste', (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  add(files);
});
window.addEventListener('dragover', (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  box.classList.add('dropping');
});
window.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) box.classList.remove('dropping');
});
window.addEventListener('drop', (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.stopPropagation();
  box.classList.remove('dropping');
  add([...event.dataTransfer.files]);
}, true);
