/* What keeps a page up to date: times, the stream, and what is fetched again and put in place.
 * The server renders all HTML; streams only tell when. It is sent before loopkit.js, as one module with it. */
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
