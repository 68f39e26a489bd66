'use strict';
// The page of burst-denoise web. Whatever comes from a file is set as text, never as markup.

const $ = (id) => document.getElementById(id);
const POLL_MS = 400, SIGN_OF_LIFE_MS = 60000;
const RESIDUAL = 'residual';
let visit = null, state = null, shown = null, timer = 0, upload = null, taking = false;
let place = { left: 0, top: 0 }, made_with = '', handed_over = false;

const create = (tag, text, attributes = {}) => {
  const element = Object.assign(document.createElement(tag), attributes);
  if (text !== undefined) element.textContent = text;
  return element;
};
const address = (path) => `visits/${visit}/${path}`;
const show = (id, seen) => { $(id).hidden = !seen; };
const layer = (key) => state.result.layers.find((one) => one.key === key);
const result = () => [...state.result.layers].reverse().find((one) => one.strength);
const strength = () => $('strength').value / 100;
const settings = () => `quality=${$('quality').value}&hot=${$('hot').checked ? 'repaired' : 'kept'}`;
const is_busy = (job) => Boolean(job && ['waiting', 'running'].includes(job.state));

async function ask(path, method = 'GET') {
  let answer;
  try {
    answer = await fetch(path, { method });
  } catch {
    throw new Error('The program does not answer any more; start it again with burst-denoise web.');
  }
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function fail(error) {
  $('error').textContent = error.message;
  show('error', true);
  $('error').scrollIntoView({ block: 'nearest' });
}

// One shot at a time: whatever was there before is ended.

async function begin(title) {
  leave();
  show('error', false);
  for (const id of ['view', 'take', 'frames', 'notice', 'gain']) show(id, false);
  for (const id of ['facts', 'cautions', 'strip', 'found', 'formats']) $(id).replaceChildren();
  $('shot-title').textContent = title;
  $('taken').textContent = '';
  state = shown = null;
  handed_over = false;
  show('shot', true);
  tell('preparing', null);
  $('shot').scrollIntoView({ block: 'nearest' });
  visit = (await ask('visits', 'POST')).key;
}

function leave() {
  clearTimeout(timer);
  if (upload) upload.abort();
  if (visit) navigator.sendBeacon(address('end'));
  visit = upload = null;
  taking = false;
}

async function take_sample(button) {
  for (const one of document.querySelectorAll('[data-sample]')) one.ariaPressed = String(one === button);
  try {
    await begin(button.querySelector('span').textContent);
    await ask(address(`sample/${button.dataset.sample}`), 'POST');
    await work();
  } catch (error) {
    ended(error);
  }
}

async function take_files(files) {
  if (!files.length) return;
  for (const one of document.querySelectorAll('[data-sample]')) one.ariaPressed = 'false';
  const large = files.find((file) => file.size > document.body.dataset.megabytes * 1e6);
  if (large) {
    return fail(new Error(`${large.name}: is larger than the ${document.body.dataset.megabytes} MB that this page takes; use burst-denoise denoise for it`));
  }
  try {
    await begin(files.length > 1 ? `${files.length} frames: ${files[0].name} …` : files[0].name);
    for (const [number, file] of files.entries()) await send(file, number, files.length);
    await work();
  } catch (error) {
    ended(error);
  }
}

function send(file, number, count) {
  return new Promise((done, failed) => {
    const begun = performance.now();
    upload = new XMLHttpRequest();
    upload.open('PUT', address('files?name=' + encodeURIComponent(file.name.replace(/[\ud800-\udfff]/g, '_'))));
    upload.upload.onprogress = (event) => {
      const share = event.loaded / event.total, left = (performance.now() - begun) / 1000 * (1 - share) / share;
      tell(`handing over ${count > 1 ? `frame ${number + 1} of ${count}` : 'the file'}${in_words(left)}`, (number + share) / count);
    };
    upload.onload = () => {
      const answer = JSON.parse(upload.responseText);
      if (upload.status === 200) done();
      else failed(new Error(answer.error));
    };
    upload.onerror = () => failed(new Error(`${file.name}: the program stopped taking it; try again`));
    upload.onabort = () => failed(new Error('Cancelled.'));
    upload.send(file);
  });
}

function ended(error) {
  show('progress', false);
  if (handed_over) {
    show('again', true);  // the files are there still
  } else {
    leave();
    show('shot', false);
  }
  fail(error);
}

async function work() {
  upload = null;
  handed_over = true;
  show('error', false);
  show('again', false);
  made_with = settings();
  await ask(address(`work?${made_with}`), 'POST');
  await follow();
}

// What has become of it

async function follow() {
  clearTimeout(timer);
  const of = visit;
  try {
    const found = await ask(`visits/${of}`);
    if (of !== visit) return;
    state = found;
    draw();
  } catch (error) {
    if (of !== visit) return;
    visit = null;
    handed_over = false;
    return ended(error);
  }
  const busy = is_busy(state.job) || is_busy(state.export);
  timer = setTimeout(follow, busy ? POLL_MS : SIGN_OF_LIFE_MS);
}

const in_words = (seconds) => {
  if (seconds === null || !Number.isFinite(seconds)) return '';
  if (seconds < 1) return ', nearly done';
  return seconds < 90 ? `, ${Math.round(seconds)} s left` : `, ${Math.round(seconds / 60)} min left`;
};

function tell(text, share) {
  $('stage').textContent = text.charAt(0).toUpperCase() + text.slice(1);
  if (share === null) $('bar').removeAttribute('value');
  else $('bar').value = share;
  show('progress', true);
}

function draw_job(job) {
  if (job.state === 'waiting') {
    tell(job.ahead === 1 ? 'waiting: one other is before this' : `waiting: ${job.ahead} others are before this`, null);
  } else if (job.state === 'running') {
    tell(job.stage + in_words(job.seconds_left), job.share);
  } else {
    show('progress', false);
  }
}

function draw() {
  const { job, result: found } = state;
  if (job) draw_job(state.export && job.state === 'done' ? state.export : job);
  if (job && job.state === 'failed') fail(new Error(job.error));
  if (job && job.state === 'cancelled') fail(new Error('Cancelled. Choose a shot, or denoise this one again.'));
  offer_again();
  if (!found) return;
  draw_facts(found);
  draw_frames(found);
  const ready = `${state.made} ${found.layers.map((one) => one.key)}`;
  if (found.layers.length && shown !== ready) {
    shown = ready;
    draw_view(found);
  }
  if (found.formats.length && job.state === 'done') draw_take(found);
  draw_export();
}

function offer_again() {
  const job = state && state.job;
  const unfinished = job && (job.state === 'cancelled' || (job.state === 'failed' && state.result));
  show('again', Boolean(unfinished || (job && job.state === 'done' && settings() !== made_with)));
}

function draw_facts(found) {
  const rows = [...found.facts];
  if (state.job.seconds !== null && found.formats.length) rows.push(['Time', `${state.job.seconds} s`]);
  $('facts').replaceChildren(...rows.map(([name, value]) => {
    const pair = create('div');
    pair.append(create('dt', name), create('dd', value));
    return pair;
  }));
  $('cautions').replaceChildren(...found.cautions.map((text) => create('li', text)));
  $('notice').textContent = found.notice;
  show('notice', Boolean(found.notice));
  if (found.worth) {
    $('gain').textContent = found.worth;
    show('gain', true);
  }
}

function draw_frames(found) {
  show('frames', found.frames.length > 0);
  if ($('strip').childElementCount === found.frames.length) return;
  $('verdict').textContent = found.verdict;
  $('verdict').className = found.accepted ? 'good' : 'bad';
  $('strip').replaceChildren(...found.frames.map((frame, number) => {
    const item = create('li', undefined, { className: frame.accepted ? '' : 'out', title: frame.name });
    item.append(create('img', undefined, { src: address(`frames/${number}`), alt: '' }), `${number + 1} ${frame.accepted ? '' : '✕ left out'}`);
    return item;
  }));
  $('found').replaceChildren(...found.frames.flatMap((frame, number) =>
    frame.accepted ? [] : [create('li', `${number + 1}, ${frame.name}: ${frame.words}`)]));
}

// Pictures: of each place the latest that was asked for is loaded, one at a time.

function load(image, source) {
  image.wanted = source;
  if (image.loading_now || image.shown === source) return;
  image.loading_now = true;
  const next = new Image();
  const settled = (good) => {
    image.loading_now = false;
    if (good) {
      image.src = next.src;
      image.shown = source;
    }
    if (image.wanted !== source) load(image, image.wanted);
  };
  next.onload = () => settled(true);
  next.onerror = () => settled(false);
  next.src = source;
}

function draw_view(found) {
  const [width, height] = found.size;
  const stage = document.querySelector('#whole .stage');
  stage.style.setProperty('--ratio', `${width} / ${height}`);
  stage.style.setProperty('--sides', width / height);
  stage.style.maxWidth = `${width}px`;
  const options = found.layers.map((one) => [one.key, one.title]);
  if (result()) options.push([RESIDUAL, 'what was taken away']);
  const chosen = [found.layers[0].key, result() ? result().key : found.layers[found.layers.length - 1].key];
  ['left', 'right'].forEach((side, number) => {
    const select = document.querySelector(`.${side}-choice`);
    select.replaceChildren(...options.map(([value, text]) => create('option', text, { value })));
    select.value = chosen[number];
  });
  show('view', true);
  show('strength-label', Boolean(result()));
  const size = part_size();
  place = { left: (width - size.width) / 2, top: (height - size.height) / 2 };
  refresh();
}

function part_size() {
  const stage = document.querySelector('#part .stage'), [width, height] = state.result.size;
  stage.style.maxWidth = `${width}px`;
  stage.style.maxHeight = `${height}px`;
  return { width: Math.min(width, Math.round(stage.clientWidth)), height: Math.min(height, Math.round(stage.clientHeight)) };
}

function refresh() {
  if (!state || !state.result || !state.result.layers.length) return;
  const size = part_size(), [width, height] = state.result.size;
  place.left = Math.max(0, Math.min(width - size.width, Math.round(place.left / 2) * 2));
  place.top = Math.max(0, Math.min(height - size.height, Math.round(place.top / 2) * 2));
  const box = $('box').style;
  box.left = `${100 * place.left / width}%`;
  box.top = `${100 * place.top / height}%`;
  box.width = `${100 * size.width / width}%`;
  box.height = `${100 * size.height / height}%`;
  let residual = false;
  for (const side of ['left', 'right']) {
    const select = document.querySelector(`.${side}-choice`), taken = select.value === RESIDUAL;
    const of = taken ? result() : layer(select.value);
    const query = `strength=${strength()}${taken ? '&residual=1' : ''}&of=${state.made}`;
    residual ||= taken;
    const name = select.selectedOptions[0].text;
    const pictures = { whole: `whole/${of.key}?${query}`, part: `part/${of.key}?${query}&left=${place.left}&top=${place.top}&width=${size.width}&height=${size.height}` };
    for (const [id, source] of Object.entries(pictures)) {
      const image = document.querySelector(`#${id} .${side}`);
      image.alt = `${id === 'part' ? 'Part at 1:1, ' : ''}${name}`;
      load(image, address(of.strength ? source : source.replace(`strength=${strength()}&`, '')));
    }
  }
  show('residual-fact', residual);
  $('strength-value').textContent = `${$('strength').value} %`;
  if (state.result.scored) score();
}

async function score() {
  if (score.busy) return (score.again = true);
  score.busy = true;
  const of = visit;
  try {
    const [before, after] = await ask(address(`scores?strength=${strength()}`));
    if (of === visit) {
      $('gain').textContent = `PSNR ${before.psnr_db.toFixed(1)} → ${after.psnr_db.toFixed(1)} dB, SSIM ${before.ssim.toFixed(3)} → ${after.ssim.toFixed(3)}, against the known truth.`;
      show('gain', true);
    }
  } catch (error) {
    if (of === visit) fail(error);
  }
  score.busy = false;
  if (score.again) {
    score.again = false;
    if (visit && state && state.result && state.result.scored) score();
  }
}

// Files to take

const FORMATS = {
  dng: ['DNG', 'the raw file, denoised, for any raw converter'], tiff: ['TIFF', '16 bits'], png: ['PNG', '16 bits'],
  report: ['Report', 'of the burst, one HTML page; takes minutes'],
};

function draw_take(found) {
  const formats = [...found.formats, ...(found.report ? ['report'] : [])];
  if ($('formats').childElementCount !== formats.length) {
    $('formats').replaceChildren(...formats.map((format) => {
      const button = create('button', FORMATS[format][0], { type: 'button', title: FORMATS[format][1] });
      button.dataset.format = format;
      button.append(create('small', ` ${FORMATS[format][1]}`));
      button.addEventListener('click', () => take(format));
      return button;
    }));
  }
  $('take-lead').textContent = found.frames.length ? 'The merged burst, with all that the file of its first frame says.' : 'With all that your file says about the shot, at the strength chosen above.';
  show('take', true);
}

async function take(format) {
  show('error', false);
  try {
    await ask(address(`exports/${format}?strength=${strength()}`), 'POST');
    taking = true;
    $('taken').textContent = '';
    await follow();
  } catch (error) {
    fail(error);
  }
}

function draw_export() {
  const job = state.export;
  const busy = is_busy(job);
  for (const button of $('formats').children) button.disabled = busy;
  if (!taking || !job || busy) return;
  taking = false;
  if (job.state === 'done') {
    const link = create('a', undefined, { href: address('download'), download: '' });
    document.body.append(link);
    link.click();
    link.remove();
    $('taken').textContent = 'Saved where your browser puts downloads.';
  } else if (job.state === 'failed') {
    fail(new Error(job.error));
  }
}

// What the visitor does

for (const button of document.querySelectorAll('[data-sample]')) button.addEventListener('click', () => take_sample(button));
$('files').addEventListener('change', () => {
  const files = [...$('files').files];
  $('files').value = '';
  take_files(files);
});
for (const [kind, over] of [['dragenter', true], ['dragover', true], ['dragleave', false], ['drop', false]]) {
  $('drop').addEventListener(kind, (event) => {
    event.preventDefault();
    $('drop').classList.toggle('over', over);
    if (kind === 'drop') take_files([...event.dataTransfer.files]);
  });
}
$('cancel').addEventListener('click', async () => {
  if (upload) return upload.abort();
  try {
    await ask(address('cancel'), 'POST');
    taking = false;
    await follow();
  } catch (error) {
    fail(error);
  }
});
$('again').addEventListener('click', () => work().catch(ended));
for (const id of ['quality', 'hot']) $(id).addEventListener('change', offer_again);
$('strength').addEventListener('input', refresh);
for (const select of document.querySelectorAll('.choice select')) select.addEventListener('change', refresh);
for (const slider of document.querySelectorAll('.line')) {
  slider.addEventListener('input', () => slider.parentElement.style.setProperty('--at', `${slider.value}%`));
}
document.querySelector('#whole .stage').addEventListener('click', (event) => {
  if (event.target.classList.contains('line') || !state || !state.result) return;
  const stage = document.querySelector('#whole .stage').getBoundingClientRect();
  const [width, height] = state.result.size, size = part_size();
  place = {
    left: (event.clientX - stage.left) / stage.width * width - size.width / 2,
    top: (event.clientY - stage.top) / stage.height * height - size.height / 2,
  };
  refresh();
});
$('box').addEventListener('keydown', (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step || !state || !state.result) return;
  event.preventDefault();
  const [width, height] = state.result.size;
  place.left += step[0] * width / 20;
  place.top += step[1] * height / 20;
  refresh();
});
let resized = 0;
window.addEventListener('resize', () => {
  clearTimeout(resized);
  resized = setTimeout(refresh, 200);
});
window.addEventListener('pagehide', leave);
window.addEventListener('pageshow', (event) => event.persisted && location.reload());
