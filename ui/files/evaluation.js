// The form of an evaluation: it goes to the API, and Python draws the list of jobs once the run has begun.
element.addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  const problem = form.querySelector('.problem'), button = form.querySelector('button');
  const sent = new FormData(form);
  const gallery = sent.get('gallery');
  sent.set('retrieval', String(sent.has('retrieval')));
  sent.delete('gallery');
  problem.hidden = button.disabled = true;
  try {
    const answer = await fetch(`/v1/galleries/${gallery}/evaluations`, {method: 'POST', body: sent});
    const told = await answer.json();
    if (answer.ok) trigger('select', {index: 0, value: {do: 'begun'}});
    else problem.textContent = problemWords(told);
    problem.hidden = answer.ok;
  } catch {
    problem.textContent = UNANSWERED;
    problem.hidden = false;
  } finally {
    button.disabled = false;
  }
});
