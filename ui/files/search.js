// The page under the box: tells Python which button was pressed, keeps the address in step with the search that is
// shown, and holds what is ticked to be compared, over pages and searches of the same gallery.
const MOST = 4;
const WIDE = window.matchMedia('(min-width: 1000px)');
let ticked = [];
let gallery = '';
let isFirst = true;
let hasActed = false;

const act = (value) => {
  hasActed = true;
  trigger('select', {index: 0, value});
};
const token = () => new URLSearchParams(location.search).get('s') ?? '';

function drawTicks() {
  for (const input of element.querySelectorAll('[data-tick]')) {
    input.checked = ticked.includes(input.dataset.tick);
    input.disabled = !input.checked && ticked.length >= MOST;
  }
  const bar = element.querySelector('.compare-bar');
  if (!bar) return;
  bar.hidden = !ticked.length;
  bar.querySelector('span').textContent = `Compare ${ticked.length} of ${MOST}`;
  const search = token() && `&s=${token()}`;
  bar.querySelector('a').href = `/compare?gallery=${encodeURIComponent(gallery)}&images=${ticked.join(',')}${search}`;
}

function drawn() {
  const root = element.querySelector('.results');
  if (!root) return;
  if (root.dataset.gallery !== gallery) ticked = [];
  gallery = root.dataset.gallery;
  const address = root.dataset.address;
  if (address && address !== location.pathname + location.search) {
    // What opens a search by other parameters is the same entry in the browser's history.
    const isEntry = isFirst && location.search;
    history[isEntry ? 'replaceState' : 'pushState'](null, '', address);
  }
  isFirst = false;
  const facets = root.querySelector('.facets');
  if (facets) facets.open = WIDE.matches;
  drawTicks();
  // The button that was pressed may be another one now.
  if (hasActed) {
    const summary = root.querySelector('.summary');
    summary.focus({preventScroll: true});
    if (summary.getBoundingClientRect().top < 0) summary.scrollIntoView();
  }
  hasActed = false;
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button?.matches('[data-untick]')) {
    ticked = [];
    drawTicks();
  } else if (button?.dataset.do) {
    const {do: what, column, value} = button.dataset;
    act({do: what, column, value: value === undefined ? null : JSON.parse(value)});
  }
});
element.addEventListener('change', ({target}) => {
  if (!target.dataset.tick) return;
  ticked = ticked.filter((id) => id !== target.dataset.tick);
  if (target.checked) ticked.push(target.dataset.tick);
  drawTicks();
});
window.addEventListener('popstate', () => act({do: 'go', value: token()}));
watch('value', drawn);
drawn();
