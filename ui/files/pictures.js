// Pictures to look for: chosen, dropped anywhere on the page, or pasted into the box. Each is sent to the API, which
// answers with the token that a search names it by; Python is told the tokens and draws the previews. A search that is
// asked for meanwhile waits until they are there.
const box = element.closest('.look-for');
const one = (selector) => element.querySelector(selector);
const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
const counted = (number) => `${number} ${number === 1 ? 'picture' : 'pictures'}`;
const expected = new Set();  // tokens whose previews Python has not drawn yet
let sending = 0, isHeld = false, problem = '';

async function send(file) {
  const form = new FormData();
  form.append('file', file);
  try {
    const answer = await fetch('/v1/uploads', {method: 'POST', body: form});
    const told = await answer.json();
    return answer.ok ? {upload: told.upload} : {problem: problemWords(told)};
  } catch {
    return {problem: UNANSWERED};
  }
}

async function add(files) {
  if (!files.length) return;
  const most = Number(one('.pictures').dataset.most);
  const room = Math.max(0, most - element.querySelectorAll('.previews li').length - expected.size - sending);
  const sent = files.slice(0, room), uploads = [], problems = [];
  if (files.length > room) problems.push(`At most ${counted(most)} at once: ${files.length - room} of ${files.length} not added.`);
  sending += sent.length;
  tell(problems);
  for (const [place, file] of sent.entries()) {
    const {upload, problem: why} = await send(file);
    if (upload) { uploads.push(upload); expected.add(upload); }
    else problems.push(`${files.length > 1 ? `Picture ${place + 1} of ${files.length}, ${file.name}: ` : ''}${why}`);
    sending -= 1;
    if (problems.length && isHeld && !sending) {
      isHeld = false;
      problems.push('Nothing was searched for yet; Search does it without what is missing.');
    }
    tell(problems);
  }
  if (uploads.length) trigger('select', {index: 0, value: {do: 'add-pictures', value: uploads}});
}

function tell(problems) {
  problem = problems.join(' ');
  draw();
}

// Writes how it stands: what Python draws anew says nothing of it.
function draw() {
  for (const token of expected)
    if (one(`[data-value=${CSS.escape(JSON.stringify(token))}]`)) expected.delete(token);
  const words = sending || isHeld ? `Sending ${counted(sending || expected.size)}${isHeld ? ', then searching' : ''} …` : '';
  if (one('.state').textContent !== words) one('.state').textContent = words;
  if (one('.problem').textContent !== problem) one('.problem').textContent = problem;
  if (one('.problem').hidden === Boolean(problem)) one('.problem').hidden = !problem;
  if (!isHeld || sending || expected.size) return;
  isHeld = false;
  box.querySelector('.go').click();
}

function hold(event) {
  // Pressed again while Python is at work on them, it goes on without.
  if (!sending && (isHeld || !expected.size)) return;
  event.preventDefault();
  event.stopPropagation();
  isHeld = true;
  draw();
}

box.addEventListener('keydown', (event) => {
  const isSearch = event.key === 'Enter' && !event.shiftKey && !event.isComposing;
  if (isSearch && event.target.matches('.asking textarea, .asking input')) hold(event);
}, true);
box.addEventListener('click', (event) => {
  if (event.target.closest('.go')) hold(event);
}, true);
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
new MutationObserver(draw).observe(element, {childList: true, subtree: true, attributes: true, attributeFilter: ['data-value', 'hidden']});
