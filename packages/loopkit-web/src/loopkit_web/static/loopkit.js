/* loopkit's pages, made livelier. Every page reads, starts, cancels and retries without this file.
 * The server renders all HTML; here it is fetched again in parts and put in place. Streams only tell when. */
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const main = $('main');
const policy = window.trustedTypes?.createPolicy('loopkit', { createHTML: (text) => text });
const parse = (text) => new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, 'text/html');
const make = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
};
const stored = (name, value) => {
  try {
    if (value === undefined) return localStorage.getItem(name);
    localStorage.setItem(name, value);
  } catch { /* a browser that keeps nothing */ }
};

/* --- Times: the markup says when, in ISO; how long ago that is, is said here ------------------------------------ */

const skew = Date.parse(document.body.dataset.now) - Date.now() || 0;
const now = () => Date.now() + skew;
const pad = (number) => String(number).padStart(2, '0');
const span = (ms) => {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${pad(s % 60)}s`;
  const h = Math.floor(s / 3600);
  return h < 24 ? `${h}h ${pad(Math.floor((s % 3600) / 60))}m` : `${Math.floor(h / 24)}d ${h % 24}h`;
};
const rough = (ms) => {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
};
const dayOf = (ms) => new Date(ms).toISOString().slice(0, 10);
const said = {
  ago: (t) => (now() - t > 2592e6 ? new Date(t).toLocaleDateString() : `${rough(now() - t)} ago`),
  for: (t) => `for ${rough(now() - t)}`,
  span: (t) => span(now() - t),
  clock: (t) => new Date(t).toLocaleTimeString(undefined, { hour12: false }),
  day: (t, iso) => ({ [dayOf(now())]: 'Today', [dayOf(now() - 864e5)]: 'Yesterday' })[iso],
};
const tell = (root, ticking) => {
  for (const time of $$(ticking ? 'time[data-as=ago],time[data-as=for],time[data-as=span]' : 'time', root)) {
    const t = Date.parse(time.dateTime);
    const text = said[time.dataset.as]?.(t, time.dateTime);
    if (text && time.textContent !== text) time.textContent = text;
    if (!ticking && time.dataset.as !== 'day') time.title = new Date(t).toLocaleString();
  }
};

/* --- Speaking to who does not see it: at most one sentence in five seconds ------------------------------------- */

let spokeAt = 0;
let waitingWords = 0;
const say = (text, id = 'say') => {
  clearTimeout(waitingWords);
  waitingWords = setTimeout(() => {
    spokeAt = Date.now();
    $(`#${id}`).textContent = text;
  }, Math.max(0, spokeAt + 5000 - Date.now()));
};

/* --- Putting new markup in place: focus, selection, open parts and typed values stay --------------------------- */

const kept = { open: 'DETAILS', checked: 'INPUT', value: 'INPUT', hidden: 'BUTTON' };
const morph = (old, fresh) => {
  tell(fresh);
  show(fresh);
  Idiomorph.morph(old, fresh, {
    morphStyle: 'outerHTML',
    ignoreActiveValue: true,
    callbacks: {
      beforeAttributeUpdated: (name, node) => kept[name] !== node.tagName,
      beforeNodeMorphed: (node, next) => node.nodeType !== 1 || !node.isEqualNode(next),
    },
  });
};
const show = (root) => {
  for (const button of $$('.copy,[data-copy-from]', root)) button.hidden = false;
};
const tags = new Map();
/** Give a page as a document, or null where it is what it was. Its tag is kept by `key`, and not without one. */
const fetched = async (url, key = url) => {
  const headers = { Accept: 'text/html' };
  if (key && tags.has(key)) headers['If-None-Match'] = tags.get(key);
  const answer = await fetch(url, { headers, cache: 'no-store', credentials: 'same-origin' });
  if (answer.status === 304) return null;
  if (!answer.ok) throw Object.assign(new Error(answer.status), { answer });
  if (key && answer.headers.get('etag')) tags.set(key, answer.headers.get('etag'));
  return parse(await answer.text());
};

/* --- Live: listen, look again, put in place; nothing while nobody looks ---------------------------------------- */

const HEALTHY_MS = 30000;
const live = {
  badge: $('#live'), paused: stored('loopkit-paused') === '1', source: null, healthy: false, fails: 0, errors: 0,
  busy: false, again: false, timer: 0, soon: 0, last: 0, ended: false, lookedAt: 0,

  start() {
    if (!this.badge) return;
    this.badge.hidden = false;
    this.last = Number($('#timeline')?.dataset.last || 0);
    this.ended = !main.dataset.stream;
    this.tell();
    $('#pause').onclick = () => this.pause();
    document.addEventListener('visibilitychange', () => {
      document.documentElement.classList.toggle('hid', document.hidden);
      if (document.hidden) this.stop();
      else this.resume();
    });
    this.resume(true);
  },
  pause() {
    this.paused = !this.paused;
    stored('loopkit-paused', this.paused ? '1' : '');
    if (this.paused) this.stop();
    else this.resume();
    this.tell();
  },
  stop() {
    this.source?.close();
    this.source = null;
    this.healthy = false;
    clearTimeout(this.timer);
    clearTimeout(this.soon);
    this.soon = 0;
    this.tell();
  },
  resume(first) {
    if (this.paused || document.hidden) return this.tell();
    if (!this.ended) this.listen();
    if (first) this.plan();
    else this.look();
  },
  listen() {
    this.source?.close();
    let url = main.dataset.stream;
    if (main.dataset.kind === 'run') url = url.replace(/after=\d+/, `after=${this.last}`);
    const source = (this.source = new EventSource(url));
    source.onopen = () => {
      if (this.source !== source) return;
      const back = this.fails > 0;
      this.healthy = true;
      this.fails = 0;
      this.tell();
      this.plan();
      if (back) this.hint();
    };
    source.onmessage = (event) => {
      this.seen = Math.max(this.seen || 0, Number(event.lastEventId));
      this.hint();
    };
    source.addEventListener('runs', () => this.hint());
    source.onerror = () => {
      if (this.source !== source) return;
      this.healthy = false;
      this.fails += 1;
      if (source.readyState === EventSource.CLOSED) {
        this.source = null;
        setTimeout(() => !this.source && !this.ended && !this.paused && !document.hidden && this.listen(),
          Math.min(60000, 1000 * 2 ** this.fails) * (0.75 + Math.random() / 2));
      }
      this.tell();
      this.hint();
    };
  },
  hint() {
    if (!this.soon) this.soon = setTimeout(() => { this.soon = 0; this.look(); }, 250);
  },
  plan(wait) {
    clearTimeout(this.timer);
    if (this.paused || document.hidden || (!wait && this.ended && main.dataset.kind === 'run')) return;
    const usual = this.healthy ? HEALTHY_MS : Number(main.dataset.seconds) * 1000;
    this.timer = setTimeout(() => this.look(), wait ?? usual);
  },
  async look() {
    if (this.paused || document.hidden) return;
    if (this.busy) return void (this.again = true);
    if (getSelection().type === 'Range' && main.contains(getSelection().anchorNode)) return this.plan(1000);
    this.busy = true;
    let wait;
    try {
      const fresh = await fetched(main.dataset.refresh);
      if (fresh) place(fresh);
      if (main.dataset.events && $('#timeline')) await this.append();
      this.errors = 0;
    } catch (error) {
      this.errors += 1;
      const asked = Number(error.answer?.headers.get('retry-after')) * 1000;
      wait = asked || Math.min(60000, 1000 * 2 ** this.errors) * (0.75 + Math.random() / 2);
    }
    this.busy = false;
    this.tell();
    if (this.again) { this.again = false; this.hint(); }
    this.plan(wait);
  },
  /** Add what happened since to the timeline, which is never made anew. */
  async append() {
    const box = $('#timeline');
    while (!('behind' in box.dataset)) {
      const fresh = await fetched(`${main.dataset.events}?after=${this.last}`, 'events');
      const found = fresh && $('#events', fresh);
      if (!found || !Number(found.dataset.last)) return;
      const follows = $('#foot').getBoundingClientRect().bottom < innerHeight + 60 && scrollY > 200;
      addEvents(found, false);
      this.last = Number(found.dataset.last);
      if (follows) $('#foot').scrollIntoView({ block: 'end' });
      if (!('behind' in found.dataset)) return;
    }
  },
  finish() {
    if (this.ended) return;
    this.ended = true;
    this.source?.close();
    this.source = null;
    this.tell();
  },
  tell() {
    if (!this.badge) return;
    const done = this.ended && main.dataset.kind === 'run';
    const polling = `Polling ${main.dataset.seconds} s`;
    const state = this.paused ? 'paused' : !navigator.onLine ? 'offline' : done ? 'ended'
      : this.errors ? 'reconnecting' : this.healthy ? 'live' : this.fails > 1 ? 'polling' : this.fails ? 'reconnecting' : 'live';
    const words = { live: 'Live', paused: 'Paused', offline: 'Offline', ended: 'Ended', polling, reconnecting: 'Reconnecting' };
    this.badge.dataset.state = state;
    $('#live-state span').textContent = words[state];
    $('#pause').setAttribute('aria-pressed', this.paused);
    $('#pause').hidden = done;
    $('#pause span').textContent = this.paused ? 'Resume' : 'Pause';
  },
};

/** Put the parts of a freshly fetched page in place. */
const place = (fresh) => {
  const head = $('#run-head');
  const before = head?.dataset.words;
  const from = $('main', fresh);
  for (const name of ['active', 'seconds']) main.dataset[name] = from.dataset[name];
  if (main.dataset.kind === 'list' && $('#chips,.empty')) placeRows(fresh);
  for (const part of $$('[data-live]', fresh)) {
    const old = document.getElementById(part.id);
    if (old && old.matches('[data-live]')) morph(old, part);
    else if (!old && part.id === 'tab') location.reload();
  }
  const words = $('#run-head')?.dataset.words;
  if (before && words !== before) {
    document.title = fresh.title;
    say(`The run is now: ${words}`);
  }
  if (main.dataset.kind === 'run' && !from.dataset.stream) live.finish();
};

/* --- The list: known rows change in place, new ones wait -------------------------------------------------------- */

let touchedAt = 0;
for (const kind of ['pointerdown', 'keydown', 'wheel', 'scroll']) {
  addEventListener(kind, () => (touchedAt = Date.now()), { passive: true, capture: true });
}
let waiting = null;
const placeRows = (fresh) => {
  const table = $('table#rows');
  const next = $('table#rows', fresh);
  if (!table || !next) {
    if (Boolean(table) !== Boolean(next)) morphMain(fresh);
    return;
  }
  const news = $$('tr.run', next).filter((row) => !document.getElementById(row.id));
  const ordered = !new URLSearchParams(location.search).get('order');
  if (!news.length || !ordered) {
    if (news.length) return takeIn(fresh);
    const there = new Set($$('tr.run', next).map((row) => row.id));
    for (const row of $$('tr.run', table)) row.classList.toggle('gone', !there.has(row.id));
  }
  for (const row of $$('tr.run', next)) {
    const old = document.getElementById(row.id);
    if (old) morph(old, row.cloneNode(true));
  }
  waiting = news.length ? fresh : null;
  const idle = scrollY < 80 && Date.now() - touchedAt > 2000 && !main.contains(document.activeElement) && !$('dialog[open]');
  if (news.length && idle) return takeIn(fresh);
  const pill = $('#new-runs');
  const words = `${news.length} new ${news.length === 1 ? 'run' : 'runs'}`;
  if (news.length && $('span', pill).textContent !== words) say(words);
  $('span', pill).textContent = words;
  pill.hidden = !news.length;
};
const takeIn = (fresh) => {
  morph($('table#rows'), $('table#rows', fresh));
  waiting = null;
  if ($('#new-runs')) $('#new-runs').hidden = true;
};
const morphMain = (fresh) => {
  const content = $('main', fresh);
  tell(content);
  show(content);
  Idiomorph.morph(main, [...content.childNodes], { morphStyle: 'innerHTML' });
};

/* --- The timeline: a window that moves ---------------------------------------------------------------------------- */

const MOST_EVENTS = 600;
const merge = (box, group, early) => {
  const at = early ? box.firstElementChild : box.lastElementChild;
  if (!at?.dataset.key || at.dataset.key !== group.dataset.key) return box[early ? 'prepend' : 'append'](group);
  const summary = $(':scope>summary', group);
  if (!early && summary?.children.length > 1) $(':scope>summary', at)?.replaceWith(summary);
  if (at.tagName === 'OL' || group.matches('.section')) {
    const [list, added] = [$(':scope>ol', at), $(':scope>ol', group)];
    list[early ? 'prepend' : 'append'](...added.children);
    return;
  }
  const parts = $$(':scope>.section', group);
  for (const part of early ? parts.reverse() : parts) {
    const rest = $$(':scope>.section', at);
    const near = early ? rest[0] : rest.at(-1);
    if (near?.dataset.key === part.dataset.key) merge({ firstElementChild: near, lastElementChild: near }, part, early);
    else if (early) $(':scope>summary', at).after(part);
    else at.append(part);
  }
};
const addEvents = (found, early) => {
  const box = $('#events');
  $('.none', box)?.remove();
  tell(found);
  show(found);
  for (const id of $$('.event', found).map((event) => event.id)) document.getElementById(id)?.remove();
  const groups = $$(':scope>.group', found);
  for (const group of early ? groups.reverse() : groups) merge(box, document.adoptNode(group), early);
  trim(box, early);
};
const trim = (box, early) => {
  const events = $$('.event', box);
  const over = events.length - MOST_EVENTS;
  const timeline = $('#timeline');
  if (over > 0) {
    for (const event of early ? events.slice(-over) : events.slice(0, over)) event.remove();
    for (const part of $$('.section,.group', box)) if (!$('.event', part)) part.remove();
    if (early) {
      timeline.dataset.behind = '';
      $('#later').hidden = false;
    } else $('#earlier').hidden = false;
  }
  const first = $('.event', box);
  if (!first) return;
  timeline.dataset.first = first.id.slice(1);
  const link = $('#earlier a');
  link.href = `${location.pathname}?before=${timeline.dataset.first}#timeline`;
};
const earlier = async (event) => {
  event.preventDefault();
  const fresh = await fetched(`${main.dataset.events}?before=${$('#timeline').dataset.first}`, null);
  const found = $('#events', fresh);
  const top = $('.event', $('#events'));
  const y = top?.getBoundingClientRect().top;
  addEvents(found, true);
  if (top?.isConnected) scrollBy(0, top.getBoundingClientRect().top - y);
  $('#earlier').hidden = !('earlier' in found.dataset);
};

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
