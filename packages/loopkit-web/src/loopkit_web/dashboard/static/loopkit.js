/* Dialogs, keyboard shortcuts, and handlers of clicks, forms and dropped files.
 * Reading, starting, cancelling and retrying work without scripts. The first half of this module is live.js. */

/* Dialogs. */

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

const confirmCancel = (form) => {
  const yes = make('button', { className: 'button bad', type: 'button', textContent: $('button', form).textContent.trim() });
  const no = make('button', { className: 'button', type: 'button', textContent: 'Keep running' });
  const foot = make('div', { className: 'startfoot' }, no, yes);
  const box = dialog(form.dataset.ask, true, make('div', { className: 'dlg-body' }, make('p', { textContent: form.dataset.details })), foot);
  no.onclick = () => box.close();
  yes.onclick = () => { busy(yes, 'Cancelling'); form.submit(); };
  no.focus();
};

const busy = (button, label) => {
  if (!button) return;
  button.style.minWidth = `${button.offsetWidth}px`;
  button.setAttribute('aria-busy', 'true');
  if (label) button.textContent = label;
};

/** The start form in a dialog: the same page and the same responses. */
const startDialog = async (url) => {
  const body = make('div', { className: 'loading' });
  const box = dialog('Start a run', false, body);
  const fill = (page) => {
    const start = $('.start', page);
    if (!start) return location.assign(url);
    showTimes(start);
    showButtons(start);
    body.className = '';
    body.replaceChildren(document.adoptNode(start));
    ($('#faults', body) || $('.fields textarea,.fields input:not([type=hidden]),.fields select', body) || box).focus();
  };
  const showFailure = () => {
    const foot = $('.startfoot p', body);
    if (foot) foot.textContent = 'The server cannot be reached. No run was started and the form is unchanged; try again.';
    announce('The server cannot be reached.', 'alert');
  };
  box.addEventListener('click', async (event) => {
    const link = event.target.closest('a');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if ('close' in link.dataset) { event.preventDefault(); box.close(); }
    if ('dialog' in link.dataset) {
      event.preventDefault();
      try { fill(await fetchPage(link.href, null)); } catch { showFailure(); }
    }
  });
  box.addEventListener('submit', async (event) => {
    event.preventDefault();
    event.stopPropagation();
    const form = event.target;
    if (form.dataset.sent) return;
    form.dataset.sent = '1';
    const submitter = event.submitter;
    const isStart = submitter?.name === 'start';
    const button = $('[data-busy]', form);
    const label = button?.textContent;
    if (isStart) busy(button, button.dataset.busy);
    try {
      const response = await fetch(form.action, {
        method: 'POST', body: new URLSearchParams(new FormData(form, submitter)), headers: { Accept: 'text/html' },
      });
      if (response.redirected) return location.assign(response.url);
      const pointer = !isStart && submitter?.value;
      fill(parse(await response.text()));
      if (pointer) $$('.list', body).find((list) => $(`button[value="${CSS.escape(pointer)}"]`, list))?.querySelector('.row:last-of-type :is(input,textarea)')?.focus();
    } catch {
      if (isStart) { button.textContent = label; button.removeAttribute('aria-busy'); }
      showFailure();
    }
    delete form.dataset.sent;
  });
  try { fill(await fetchPage(url, null)); } catch { location.assign(url); }
};

/* Keyboard. */

const KEYS = {
  '/': 'Search', 'j k': 'Next and previous run', x: 'Select the run', s: 'Start a run', r: 'Retry', c: 'Compare',
  e: 'First error', 'n p': 'Next and previous change', '[ ]': 'Attempts', p: 'Pause updates (lists)', 'g l': 'Runs', 'g r': 'Runners', '?': 'Show this list',
};
const help = () => {
  const list = make('dl');
  for (const [keys, text] of Object.entries(KEYS)) {
    list.append(make('dt', {}, ...keys.split(' ').map((key) => make('kbd', { textContent: key }))), make('dd', { textContent: text }));
  }
  const box = make('input', { type: 'checkbox', checked: stored('loopkit-keys') !== 'off' });
  box.onchange = () => stored('loopkit-keys', box.checked ? 'on' : 'off');
  dialog('Keyboard', true, make('div', { className: 'dlg-body' }, list, make('label', { className: 'check' }, box, 'Single-key shortcuts')));
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
let lastKey = '';
let lastKeyTimer = 0;
const actions = {
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
  if (lastKey === 'g' && (key === 'l' || key === 'r')) {
    lastKey = '';
    return location.assign(base + (key === 'l' ? '/agents' : '/runners'));
  }
  lastKey = key;
  clearTimeout(lastKeyTimer);
  lastKeyTimer = setTimeout(() => (lastKey = ''), 1000);
  if (actions[key]) { event.preventDefault(); actions[key](); }
});

/* Clicks, forms and dropped files. */

document.addEventListener('click', async (event) => {
  const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0;
  const copy = event.target.closest('[data-copy],[data-copy-from]');
  if (copy) {
    const { copy: own, copyUrl: whole, copyFrom: from } = copy.dataset;
    try {
      const text = own ?? (whole ? await (await fetch(whole)).text() : document.getElementById(from).textContent);
      await navigator.clipboard.writeText(text);
      copy.classList.add('done');
      announce('Copied');
      setTimeout(() => copy.classList.remove('done'), 1500);
    } catch { announce('The browser does not allow copying.', 'alert'); }
  }
  const link = event.target.closest('a');
  if (plain && link && (link.id === 'start' || /\/agents\/start(\?|$)/.test(link.href)) && !link.closest('.start')) {
    event.preventDefault();
    startDialog(link.href);
  }
  if (plain && link?.closest('#later') && link.search === location.search) { event.preventDefault(); location.reload(); }
  if (plain && link?.closest('#earlier')) earlier(event).catch(() => location.assign(link.href));
  if (event.target.closest('#new-runs') && pending) {
    const known = new Set($$('tr.run').map((one) => one.id));
    showNewRuns(pending);
    $('a', $$('tr.run').find((one) => !known.has(one.id)))?.focus();
  }
});
document.addEventListener('submit', (event) => {
  const form = event.target;
  const chosen = $$('.c-pick input:checked', form).map((box) => box.value);
  if (chosen.length === 2 && !event.submitter?.hasAttribute('formaction')) {
    event.preventDefault();
    chosen.sort((a, b) => (ticked.get(a) || 0) - (ticked.get(b) || 0));
    return location.assign(`${base}/compare?runs=${chosen.map(encodeURIComponent)}`);
  }
  if (form.dataset.ask) { event.preventDefault(); return confirmCancel(form); }
  if ('once' in form.dataset) {
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = '1';
    if (event.submitter?.dataset.busy) setTimeout(() => busy(event.submitter, event.submitter.dataset.busy));
  }
});
const ticked = new Map();
document.addEventListener('change', (event) => {
  if (event.target.matches('.c-pick input')) ticked.set(event.target.value, performance.now());
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
    if (file.size > 1e6) return announce('That file is larger than 1 MB.', 'alert');
    area.value = await file.text();
    announce(`${file.name} was read into the field`);
  });
}
addEventListener('pageshow', (event) => {
  for (const form of $$('form[data-sent]')) delete form.dataset.sent;
  if (event.persisted) location.reload();
});
for (const kind of ['online', 'offline']) addEventListener(kind, () => { live.showState(); if (kind === 'online') live.refresh(); });
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
showTimes(document);
showButtons(document);
setInterval(() => document.hidden || showTimes(document, true), 1000);
$('#faults')?.focus();
live.start();
