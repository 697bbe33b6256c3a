// Cards: a photo, its name and its candidates as chips that can be pressed.

const NAME_TAIL = 10;  // characters of a file's name that are never cut: names differ at the end

function makeCard() {
  const root = element('div', 'card');
  root.setAttribute('role', 'listitem');
  const picture = element('div', 'picture', root);
  const photo = element('img', '', picture);
  photo.alt = '';
  photo.decoding = 'async';
  photo.draggable = false;
  const map = element('canvas', 'map', picture);
  map.setAttribute('aria-hidden', 'true');
  const seenButton = button('done', picture);
  seenButton.textContent = '✓';
  const name = element('bdi', 'name', root);
  const folder = element('span', 'folder', name);
  const file = element('span', 'file', name);
  const tail = element('span', 'tail', name);
  const list = element('div', 'chips', root);
  const card = {
    root, photo, map, seenButton, name, folder, file, tail, list,
    chips: [], image: -1, asked: false,
  };
  photo.addEventListener('load', () => {
    root.classList.add('ready');
    if (map.classList.contains('shown')) fitMap(card);  // it was fitted into the empty box
  });
  photo.addEventListener('error', () => root.classList.add('missing'));
  return card;
}

function makeChip(list) {
  const root = button('chip', list);
  const sign = element('span', 'sign', root);
  sign.setAttribute('aria-hidden', 'true');
  const name = element('bdi', 'label', root);
  const you = element('span', 'you', root);
  const chance = element('span', 'chance', root);
  const spoken = element('span', 'sr', root);
  return {root, sign, name, you, chance, spoken, entry: -1};
}

/** Lets a card show another image. */
function setImage(card, image) {
  card.image = image;
  card.asked = false;
  card.root.dataset.image = image;
  card.root.classList.remove('ready', 'missing');
  card.photo.removeAttribute('src');
  const path = paths[image];
  const file = fileName(image);
  const tail = [...file].slice(-NAME_TAIL).join('');
  card.folder.textContent = path.slice(0, path.length - file.length);
  card.file.textContent = file.slice(0, file.length - tail.length);
  card.tail.textContent = tail;
  card.name.title = path;
  card.root.setAttribute('aria-label', path);
  card.list.scrollTop = 0;
  hideMap(card);
  fillCard(card);
}

/** Shows the decisions of a card's image as they are now. */
function fillCard(card) {
  const list = candidatesOf(card.image);
  while (card.chips.length < list.length) card.chips.push(makeChip(card.list));
  while (card.chips.length > list.length) card.chips.pop().root.remove();
  list.forEach((entry, index) => fillChip(card.chips[index], entry));
  const looked = seen[card.image] === 1;
  card.root.classList.toggle('seen', looked);
  card.seenButton.setAttribute('aria-pressed', looked);
  card.seenButton.title = looked ? 'Looked at' : 'Mark as looked at (d)';
  card.seenButton.setAttribute('aria-label', 'Looked at');
  showCurrent(card);
}

function fillChip(chip, entry) {
  const isKept = kept[entry] === 1;
  const mine = kept[entry] !== keptByScript[entry];
  const name = classes[columns[entry]];
  chip.entry = entry;
  chip.root.dataset.entry = entry;
  chip.root.setAttribute('aria-pressed', isKept);
  chip.root.classList.toggle('mine', mine);
  chip.root.title = `${isolate(name)}: probability ${probabilityExact(entry)}, ` +
    `${isKept ? 'kept' : 'dropped'} by ${mine ? 'you' : 'the script'}`;
  chip.root.style.setProperty('--p', probability[entry] / probabilitySteps);
  chip.sign.textContent = isKept ? '✓' : '✕';
  chip.name.textContent = name;
  chip.you.textContent = mine ? 'you' : '';
  chip.chance.textContent = probabilityShort(entry);
  chip.spoken.textContent = isKept ? ', kept' : ', dropped';
}

/** Only the current card and what is in it are stops of the Tab key. */
function showCurrent(card) {
  const isCurrent = card.image === currentImage;
  const stop = isCurrent ? 0 : -1;
  card.root.classList.toggle('current', isCurrent);
  card.root.tabIndex = stop;
  card.seenButton.tabIndex = stop;
  for (const chip of card.chips) chip.root.tabIndex = stop;
}

function loadPhoto(card) {
  if (card.asked) return;
  card.asked = true;
  const folder = Math.floor(card.image / data.thumbnailsAFolder);
  card.photo.src = `thumbs/${folder}/${card.image}.jpg`;
}
