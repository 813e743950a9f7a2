/* loopkit's pages, made livelier: dialogs, keys, and all that is pressed, sent or dropped.
 * Every page reads, starts, cancels and retries without scripts. The first half of this module is live.js. */

/* --- Dialogs ------------------------------------------------------------------------------------------------------ */

const dialog = (title, small, ...children) => {
  const close = make('button', { className: 'tool', type: 'button', textContent: '✕', ariaLabel: 'Close' });
  const heading = make('h2', { textContent: title, id: 'dlg-title' });
  const box = make('dialog', { className: small ? 'small' : '' }, make('div', { className: 'dlg-head' }, heading, close), ...children);
  box.setAttribute('aria-labelledby', 'dlg-title');
  close.onclick = () => box.close();
  box.addEventListener('close', () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
};

const ask = (form) => {
  const yes = make('button', { className: 'button bad', type: 'button', textContent: $('button', form).textContent.trim() });
  const no = make('button', { className: 'button', type: 'button', textContent: 'Keep running' });
  const foot = make('div', { className: 'startfoot' }, no, yes);
  const box = dialog(form.dataset.ask, true, make('div', { className: 'dlg-body' }, make('p', { textContent: form.dataset.told })), foot);
  no.onclick = () => box.close();
  yes.onclick = () => { busy(yes, 'Cancelling'); form.submit(); };
  no.focus();
};

const busy = (button, words) => {
  if (!button) return;
  button.style.minWidth = `${button.offsetWidth}px`;
  button.setAttribute('aria-busy', 'true');
  if (words) button.textContent = words;
};

/** The start form in a dialog: the same page, the same answers. */
const startDialog = async (url) => {
  const body = make('div', { className: 'loading' });
  const box = dialog('Start a workflow', false, body);
  const fill = (page) => {
    const start = $('.start', page);
    if (!start) return location.assign(url);
    tell(start);
    show(start);
    body.className = '';
    body.replaceChildren(document.adoptNode(start));
    ($('#faults', body) || $('.fields textarea,.fields input:not([type=hidden]),.fields select', body) || box).focus();
  };
  const trouble = () => {
    const foot = $('.startfoot p', body);
    if (foot) foot.textContent = 'The server cannot be reached. Nothing was started and nothing is lost; try again.';
    say('The server cannot be reached.', 'alert');
  };
  box.addEventListener('click', async (event) => {
    const link = event.target.closest('a');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if ('close' in link.dataset) { event.preventDefault(); box.close(); }
    if ('dialog' in link.dataset) {
      event.preventDefault();
      try { fill(await fetched(link.href, null)); } catch { trouble(); }
    }
  });
  box.addEventListener('submit', async (event) => {
    event.preventDefault();
    event.stopPropagation();
    const form = event.target;
    if (form.dataset.sent) return;
    form.dataset.sent = '1';
    const from = event.submitter;
    const starts = from?.name === 'start';
    const shown = $('[data-busy]', form);
    const words = shown?.textContent;
    if (starts) busy(shown, shown.dataset.busy);
    try {
      const answer = await fetch(form.action, {
        method: 'POST', body: new URLSearchParams(new FormData(form, from)), headers: { Accept: 'text/html' },
      });
      if (answer.redirected) return location.assign(answer.url);
      const place = !starts && from?.value;
      fill(parse(await answer.text()));
      if (place) $$('.list', body).find((list) => $(`button[value="${CSS.escape(place)}"]`, list))?.querySelector('.row:last-of-type :is(input,textarea)')?.focus();
    } catch {
      if (starts) { shown.textContent = words; shown.removeAttribute('aria-busy'); }
      trouble();
    }
    delete form.dataset.sent;
  });
  try { fill(await fetched(url, null)); } catch { location.assign(url); }
};

/* --- Keys --------------------------------------------------------------------------------------------------------- */

const KEYS = {
  '/': 'Search', 'j k': 'Next and previous run', x: 'Choose the run', s: 'Start a run', r: 'Retry', c: 'Compare',
  e: 'First error', 'n p': 'Next and previous change', '[ ]': 'Attempts', p: 'Pause (lists)', 'g l': 'Workflows', 'g r': 'Runners', '?': 'This list',
};
const help = () => {
  const list = make('dl');
  for (const [keys, words] of Object.entries(KEYS)) {
    list.append(make('dt', {}, ...keys.split(' ').map((key) => make('kbd', { textContent: key }))), make('dd', { textContent: words }));
  }
  const box = make('input', { type: 'checkbox', checked: stored('loopkit-keys') !== 'off' });
  box.onchange = () => stored('loopkit-keys', box.checked ? 'on' : 'off');
  dialog('Keyboard', true, make('div', { className: 'dlg-body' }, list, make('label', { className: 'check' }, box, 'Single keys are on')));
};
const step = (all, by, current) => all[Math.max(0, Math.min(all.length - 1, all.indexOf(current) + by))];
const row = (by) => {
  const rows = $$('tr.run');
  const at = $('tr.run.cur');
  const next = at ? step(rows, by, at) : rows[0];
  at?.classList.remove('cur');
  next?.classList.add('cur');
  $('a', next || document.body)?.focus();
};
const jump = (all, by) => {
  const at = all.find((one) => one === document.activeElement) || all.findLast((one) => one.classList.contains('cur'));
  const next = at ? step(all, by, at) : all[0];
  for (const one of all) one.classList.toggle('cur', one === next);
  if (next) { next.tabIndex = -1; next.focus(); next.scrollIntoView({ block: 'center' }); }
};
const base = document.body.dataset.base;
let after = '';
let forgets = 0;
const pressed = {
  '/': () => $('#search')?.focus(),
  j: () => row(1), k: () => row(-1),
  x: () => $('tr.run.cur input')?.click(),
  s: () => ($('#start') ? $('#start').click() : location.assign(`${base}/agents/start`)),
  r: () => $('#retry')?.click(),
  c: () => ($('#compare') ? $('#compare').click() : $('#bulk')?.requestSubmit($('.bulk .button:last-child'))),
  e: () => $('.e-error')?.scrollIntoView({ block: 'center' }),
  n: () => jump($$('.hunk'), 1),
  p: () => ($('.hunk') ? jump($$('.hunk'), -1) : $('table') && live.pause()),
  '[': () => jump($$('.card:not(.ahead)'), -1), ']': () => jump($$('.card:not(.ahead)'), 1),
  '?': help,
};
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || stored('loopkit-keys') === 'off') return;
  if (event.target.closest('input:not([type=checkbox],[type=radio]),textarea,select,dialog,[contenteditable]')) return;
  const key = event.key;
  if (after === 'g' && (key === 'l' || key === 'r')) {
    after = '';
    return location.assign(base + (key === 'l' ? '/agents' : '/runners'));
  }
  after = key;
  clearTimeout(forgets);
  forgets = setTimeout(() => (after = ''), 1000);
  if (pressed[key]) { event.preventDefault(); pressed[key](); }
});

/* --- Everything else that is pressed, sent or dropped -------------------------------------------------------------- */

document.addEventListener('click', async (event) => {
  const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0;
  const copy = event.target.closest('[data-copy],[data-copy-from]');
  if (copy) {
    const text = copy.dataset.copy ?? document.getElementById(copy.dataset.copyFrom).textContent;
    try {
      await navigator.clipboard.writeText(text);
      copy.classList.add('done');
      say('Copied');
      setTimeout(() => copy.classList.remove('done'), 1500);
    } catch { say('The browser does not let this page copy.', 'alert'); }
  }
  const link = event.target.closest('a');
  if (plain && link && (link.id === 'start' || /\/agents\/start(\?|$)/.test(link.href)) && !link.closest('.start')) {
    event.preventDefault();
    startDialog(link.href);
  }
  if (plain && link?.closest('#later') && link.search === location.search) { event.preventDefault(); location.reload(); }
  if (plain && link?.closest('#earlier')) earlier(event).catch(() => location.assign(link.href));
  if (event.target.closest('#new-runs') && waiting) {
    const known = new Set($$('tr.run').map((one) => one.id));
    takeIn(waiting);
    $('a', $$('tr.run').find((one) => !known.has(one.id)))?.focus();
  }
});
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (form.dataset.ask) { event.preventDefault(); return ask(form); }
  if ('once' in form.dataset) {
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = '1';
    if (event.submitter?.dataset.busy) setTimeout(() => busy(event.submitter, event.submitter.dataset.busy));
  }
});
document.addEventListener('change', (event) => {
  if (event.target.matches('.filters select')) event.target.form.requestSubmit();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) event.target.closest('#start-form')?.requestSubmit();
});
for (const kind of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(kind, async (event) => {
    const area = event.target.closest?.('textarea[data-drop]');
    if (!area || !event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    area.classList.toggle('over', kind === 'dragover');
    const file = kind === 'drop' && event.dataTransfer.files[0];
    if (!file) return;
    if (file.size > 1e6) return say('That file is larger than 1 MB.', 'alert');
    area.value = await file.text();
    say(`${file.name} is in the field`);
  });
}
addEventListener('pageshow', (event) => {
  for (const form of $$('form[data-sent]')) delete form.dataset.sent;
  if (event.persisted) location.reload();
});
for (const kind of ['online', 'offline']) addEventListener(kind, () => { live.tell(); if (kind === 'online') live.look(); });
addEventListener('pagehide', () => live.stop());

const theme = $('#theme');
theme.hidden = $('#keys').hidden = false;
$('#keys').onclick = help;
theme.onclick = () => {
  const root = document.documentElement;
  const dark = (root.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  root.dataset.theme = dark ? 'light' : 'dark';
  $('meta[name=color-scheme]').content = root.dataset.theme;
  document.cookie = `loopkit-theme=${root.dataset.theme}; path=${base || '/'}; max-age=31536000; samesite=strict`;
};
tell(document);
show(document);
setInterval(() => document.hidden || tell(document, true), 1000);
$('#faults')?.focus();
live.start();
