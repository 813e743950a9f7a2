/* Live updates of an open page: relative times, the event stream, and the parts that are fetched again.
 * The server renders all HTML; streams only signal that something happened. Sent before loopkit.js, as one module. */
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
  } catch { /* storage is disabled */ }
};

/* Times: the markup holds absolute times in ISO 8601; relative ones are computed here. */

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
const timeTexts = {
  ago: (t) => (now() - t > 2592e6 ? new Date(t).toLocaleDateString() : `${rough(now() - t)} ago`),
  for: (t) => `for ${rough(now() - t)}`,
  span: (t) => span(now() - t),
  clock: (t) => new Date(t).toLocaleTimeString(undefined, { hour12: false }),
  day: (t, iso) => ({ [dayOf(now())]: 'Today', [dayOf(now() - 864e5)]: 'Yesterday' })[iso],
};
const showTimes = (root, ticking) => {
  for (const time of $$(ticking ? 'time[data-as=ago],time[data-as=for],time[data-as=span]' : 'time', root)) {
    const t = Date.parse(time.dateTime);
    const text = timeTexts[time.dataset.as]?.(t, time.dateTime);
    if (text && time.textContent !== text) time.textContent = text;
    if (!ticking && time.dataset.as !== 'day') time.title = new Date(t).toLocaleString();
  }
};

/* Announcements to screen readers: at most one sentence in five seconds. */

let announcedAt = 0;
let announcement = 0;
const announce = (text, id = 'say') => {
  clearTimeout(announcement);
  announcement = setTimeout(() => {
    announcedAt = Date.now();
    $(`#${id}`).textContent = text;
  }, Math.max(0, announcedAt + 5000 - Date.now()));
};

/* Replacement of markup: focus, selection, open sections and typed values are preserved. */

const preserved = { open: 'DETAILS', checked: 'INPUT', value: 'INPUT', hidden: 'BUTTON' };
const morph = (old, fresh) => {
  showTimes(fresh);
  showButtons(fresh);
  Idiomorph.morph(old, fresh, {
    morphStyle: 'outerHTML',
    ignoreActiveValue: true,
    callbacks: {
      beforeAttributeUpdated: (name, node) => preserved[name] !== node.tagName,
      beforeNodeMorphed: (node, next) => node.nodeType !== 1 || !node.isEqualNode(next),
    },
  });
};
const showButtons = (root) => {
  for (const button of $$('.copy,[data-copy-from]', root)) button.hidden = false;
};
const tags = new Map();
/** Return a page as a document, or null if it has not changed. ETags are kept by `key`; without a key there is none. */
const fetchPage = async (url, key = url) => {
  const headers = { Accept: 'text/html' };
  if (key && tags.has(key)) headers['If-None-Match'] = tags.get(key);
  const response = await fetch(url, { headers, cache: 'no-store', credentials: 'same-origin' });
  if (response.status === 304) return null;
  if (!response.ok) throw Object.assign(new Error(response.status), { response });
  if (key && response.headers.get('etag')) tags.set(key, response.headers.get('etag'));
  return parse(await response.text());
};

/* Live: listen, fetch again, replace. A hidden or paused page makes no request. */

const HEALTHY_MS = 30000;
const live = {
  badge: $('#live'), paused: stored('loopkit-paused') === '1', source: null, healthy: false, fails: 0, errors: 0,
  busy: false, again: false, timer: 0, soon: 0, last: 0, ended: false, lookedAt: 0,

  start() {
    if (!this.badge) return;
    this.badge.hidden = false;
    this.last = Number($('#timeline')?.dataset.last || 0);
    this.ended = !main.dataset.stream;
    this.showState();
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
    this.showState();
  },
  stop() {
    this.source?.close();
    this.source = null;
    this.healthy = false;
    clearTimeout(this.timer);
    clearTimeout(this.soon);
    this.soon = 0;
    this.showState();
  },
  resume(first) {
    if (this.paused || document.hidden) return this.showState();
    if (!this.ended) this.listen();
    if (first) this.schedule();
    else this.refresh();
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
      this.showState();
      this.schedule();
      if (back) this.refreshSoon();
    };
    source.onmessage = (event) => {
      this.seen = Math.max(this.seen || 0, Number(event.lastEventId));
      this.refreshSoon();
    };
    source.addEventListener('runs', () => this.refreshSoon());
    source.onerror = () => {
      if (this.source !== source) return;
      this.healthy = false;
      this.fails += 1;
      if (source.readyState === EventSource.CLOSED) {
        this.source = null;
        setTimeout(() => !this.source && !this.ended && !this.paused && !document.hidden && this.listen(),
          Math.min(60000, 1000 * 2 ** this.fails) * (0.75 + Math.random() / 2));
      }
      this.showState();
      this.refreshSoon();
    };
  },
  refreshSoon() {
    if (!this.soon) this.soon = setTimeout(() => { this.soon = 0; this.refresh(); }, 250);
  },
  schedule(wait) {
    clearTimeout(this.timer);
    if (this.paused || document.hidden || (!wait && this.ended && main.dataset.kind === 'run')) return;
    const usual = this.healthy ? HEALTHY_MS : Number(main.dataset.seconds) * 1000;
    this.timer = setTimeout(() => this.refresh(), wait ?? usual);
  },
  async refresh() {
    if (this.paused || document.hidden) return;
    if (this.busy) return void (this.again = true);
    if (getSelection().type === 'Range' && main.contains(getSelection().anchorNode)) return this.schedule(1000);
    this.busy = true;
    let wait;
    try {
      const fresh = await fetchPage(main.dataset.refresh);
      if (fresh) applyRefresh(fresh);
      if (main.dataset.events && $('#timeline')) await this.append();
      this.errors = 0;
    } catch (error) {
      this.errors += 1;
      const retryAfter = Number(error.response?.headers.get('retry-after')) * 1000;
      wait = retryAfter || Math.min(60000, 1000 * 2 ** this.errors) * (0.75 + Math.random() / 2);
    }
    this.busy = false;
    this.showState();
    if (this.again) { this.again = false; this.refreshSoon(); }
    this.schedule(wait);
  },
  /** Append the events since the last one to the timeline, which is never replaced. */
  async append() {
    const box = $('#timeline');
    while (!('behind' in box.dataset)) {
      const fresh = await fetchPage(`${main.dataset.events}?after=${this.last}`, 'events');
      const fragment = fresh && $('#events', fresh);
      if (!fragment || !Number(fragment.dataset.last)) return;
      const atEnd = $('#foot').getBoundingClientRect().bottom < innerHeight + 60 && scrollY > 200;
      addEvents(fragment, false);
      this.last = Number(fragment.dataset.last);
      if (atEnd) $('#foot').scrollIntoView({ block: 'end' });
      if (!('behind' in fragment.dataset)) return;
    }
  },
  finish() {
    if (this.ended) return;
    this.ended = true;
    this.source?.close();
    this.source = null;
    this.showState();
  },
  showState() {
    if (!this.badge) return;
    const done = this.ended && main.dataset.kind === 'run';
    const polling = `Polling ${main.dataset.seconds} s`;
    const state = this.paused ? 'paused' : !navigator.onLine ? 'offline' : done ? 'ended'
      : this.errors ? 'reconnecting' : this.healthy ? 'live' : this.fails > 1 ? 'polling' : this.fails ? 'reconnecting' : 'live';
    const labels = { live: 'Live', paused: 'Paused', offline: 'Offline', ended: 'Ended', polling, reconnecting: 'Reconnecting' };
    this.badge.dataset.state = state;
    $('#live-state span').textContent = labels[state];
    $('#pause').setAttribute('aria-pressed', this.paused);
    $('#pause').hidden = done;
    $('#pause span').textContent = this.paused ? 'Resume' : 'Pause';
  },
};

/** Replace the parts of the page by those of a newly fetched one. */
const applyRefresh = (fresh) => {
  const head = $('#run-head');
  const before = head?.dataset.text;
  const from = $('main', fresh);
  for (const name of ['active', 'seconds']) main.dataset[name] = from.dataset[name];
  if (main.dataset.kind === 'list' && $('#chips,.empty')) placeRows(fresh);
  for (const part of $$('[data-live]', fresh)) {
    const old = document.getElementById(part.id);
    if (old && old.matches('[data-live]')) morph(old, part);
    else if (!old && part.id === 'tab') location.reload();
  }
  const text = $('#run-head')?.dataset.text;
  if (before && text !== before) {
    document.title = fresh.title;
    announce(`The run is now: ${text}`);
  }
  if (main.dataset.kind === 'run' && !from.dataset.stream) live.finish();
};

/* The list: rows that are shown change in place; new rows wait behind a button. */

let touchedAt = 0;
for (const kind of ['pointerdown', 'keydown', 'wheel', 'scroll']) {
  addEventListener(kind, () => (touchedAt = Date.now()), { passive: true, capture: true });
}
let pending = null;
const placeRows = (fresh) => {
  const table = $('table#rows');
  const next = $('table#rows', fresh);
  if (!table || !next) {
    if (Boolean(table) !== Boolean(next)) morphMain(fresh);
    return;
  }
  const added = $$('tr.run', next).filter((row) => !document.getElementById(row.id));
  const ordered = !new URLSearchParams(location.search).get('order');
  if (!added.length || !ordered) {
    if (added.length) return showNewRuns(fresh);
    const ids = new Set($$('tr.run', next).map((row) => row.id));
    for (const row of $$('tr.run', table)) row.classList.toggle('gone', !ids.has(row.id));
  }
  for (const row of $$('tr.run', next)) {
    const old = document.getElementById(row.id);
    if (old) morph(old, row.cloneNode(true));
  }
  pending = added.length ? fresh : null;
  const idle = scrollY < 80 && Date.now() - touchedAt > 2000 && !main.contains(document.activeElement) && !$('dialog[open]');
  if (added.length && idle) return showNewRuns(fresh);
  const pill = $('#new-runs');
  const label = `${added.length} new ${added.length === 1 ? 'run' : 'runs'}`;
  if (added.length && $('span', pill).textContent !== label) announce(label);
  $('span', pill).textContent = label;
  pill.hidden = !added.length;
};
const showNewRuns = (fresh) => {
  morph($('table#rows'), $('table#rows', fresh));
  pending = null;
  if ($('#new-runs')) $('#new-runs').hidden = true;
};
const morphMain = (fresh) => {
  const content = $('main', fresh);
  showTimes(content);
  showButtons(content);
  Idiomorph.morph(main, [...content.childNodes], { morphStyle: 'innerHTML' });
};

/* The timeline: a window that moves. */

const MOST_EVENTS = 600;
const merge = (box, group, early) => {
  const at = early ? box.firstElementChild : box.lastElementChild;
  if (!at?.dataset.key || at.dataset.key !== group.dataset.key) return box[early ? 'prepend' : 'append'](group);
  const [summary, known] = [group, at].map((part) => $(':scope>summary', part));
  if (summary && known) mergeHeads(summary, known, early, group.matches('.section'));
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
/** Merge the heads of two parts of one group: the earlier part has the start of a stage, the later one its end. */
const mergeHeads = (summary, known, early, isSection) => {
  if (isSection) {
    const [first, last] = early ? [summary, known] : [known, summary];
    const start = $('time', first)?.cloneNode(true);
    if (start) $('time', last).replaceWith(start);
    if (!early) known.replaceWith(last);
  } else if (!early && 'known' in summary.dataset) known.replaceWith(summary);
};
/** Show the end of every stage but the last one: events that follow it have ended it. */
const closeSections = (box) => {
  for (const section of $$('.section', box).slice(0, -1)) {
    const open = $(':scope>summary .open-end', section);
    const last = $$('.event .at time', section).at(-1);
    if (open && last) open.replaceWith('to ', last.cloneNode(true));
  }
};
const addEvents = (fragment, early) => {
  const box = $('#events');
  $('.none', box)?.remove();
  showTimes(fragment);
  showButtons(fragment);
  for (const id of $$('.event', fragment).map((event) => event.id)) document.getElementById(id)?.remove();
  const groups = $$(':scope>.group', fragment);
  for (const group of early ? groups.reverse() : groups) merge(box, document.adoptNode(group), early);
  closeSections(box);
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
  const fresh = await fetchPage(`${main.dataset.events}?before=${$('#timeline').dataset.first}`, null);
  const fragment = $('#events', fresh);
  const top = $('.event', $('#events'));
  const y = top?.getBoundingClientRect().top;
  addEvents(fragment, true);
  if (top?.isConnected) scrollBy(0, top.getBoundingClientRect().top - y);
  $('#earlier').hidden = !('earlier' in fragment.dataset);
};
