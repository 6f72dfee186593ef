// Tells what goes wrong when the page asks its server for something. Its library tells nothing of such calls; of those
// that it listens for it tells itself. What is told stays until it is closed, or the same call is answered.
if (!window.tellsProblems) {
  window.tellsProblems = true;
  const plain = window.fetch.bind(window);
  const told = document.createElement('div'), words = document.createElement('p');
  const again = document.createElement('button'), close = document.createElement('button');
  let failed = null;
  told.className = 'page-problem';
  told.setAttribute('role', 'alert');
  told.hidden = true;
  [again.className, again.textContent] = ['btn', 'Load the page again'];
  [close.className, close.textContent] = ['btn', 'Close'];
  again.addEventListener('click', () => location.reload());
  close.addEventListener('click', () => { told.hidden = true; });
  told.append(words, again, close);
  document.body.append(told);

  const callOf = (options) => { try { return JSON.parse(options.body).fn_index; } catch { return null; } };

  window.fetch = async (address, options) => {
    const answer = await plain(address, options);
    if (!String(answer.url).includes('/gradio_api/run/')) return answer;
    const call = callOf(options);
    if (answer.ok) {
      if (call === failed) told.hidden = true;
      return answer;
    }
    const problem = await answer.clone().json().catch(() => ({}));
    failed = call;
    words.textContent = problem.error || 'The service could not answer. Try it again.';
    // Whose session has ended, or whose page the service does not know, gets further by that alone.
    again.hidden = ![401, 410].includes(answer.status);
    told.hidden = false;
    return answer;
  };
}
