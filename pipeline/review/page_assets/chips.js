// Chips: the labels of a photo, each with its decision, that can be pressed.

/** Labels that a photo's card shows: those to decide first, then those that surely go. */
function labelsOf(image) {
  const offered = offeredIn(image);
  for (const column of offered) makeEntry(image, column);
  const rank = (entry) => {
    if (columnOf(entry) === active.column || disputed.has(entry)) return 0;
    if (entry < candidateCount) return keptByProgram[entry] ? 1 : 3;
    return 2;
  };
  const distance = (entry) => entry < candidateCount && keptByProgram[entry]
    ? probability[entry] : -chanceOf(entry);
  return entriesOf(image)
    .filter((entry) => shownAsLabel(entry) || offered.includes(columnOf(entry)))
    .sort((a, b) => rank(a) - rank(b) || distance(a) - distance(b) || a - b);
}

/** Classes that no one gave a photo, and that the filters ask about. */
function offeredIn(image) {
  if (active.decision === 'missing') return missingIn(image, active);
  if (active.column < 0) return [];
  const own = likely.subarray(image * likelyCount, (image + 1) * likelyCount);
  return own.includes(active.column) ? [active.column] : [];
}

/** The label of a photo that x and c decide: of the class looked at, or else one in dispute. */
const pickedOf = (labels) => labels.find((entry) => active.column >= 0
  ? columnOf(entry) === active.column : disputed.has(entry));

/** The key of a label by its place on the card. */
function keyOfPlace(place) {
  return place < 10 ? String((place + 1) % 10) : place < 20 ? `⇧${(place - 9) % 10}` : '';
}

function makeChip(list) {
  const root = button('chip', list);
  const sign = element('span', 'sign', root);
  sign.setAttribute('aria-hidden', 'true');
  const name = element('bdi', 'label', root);
  const note = element('span', 'note', root);
  const chance = element('span', 'chance', root);
  const spokenText = element('span', 'sr', root);
  return {root, sign, name, note, chance, spokenText, entry: -1};
}

function fillChip(chip, entry, key) {
  const isKept = state.kept[entry] === 1;
  const answered = state.value[entry] > 0;
  const isOpen = disputed.has(entry);
  const name = classes[columnOf(entry)];
  const chance = chanceOf(entry);
  chip.entry = entry;
  chip.root.dataset.entry = entry;
  chip.root.dataset.key = key;
  chip.root.setAttribute('aria-pressed', isKept);
  chip.root.classList.toggle('mine', answered);
  chip.root.classList.toggle('open', isOpen);
  chip.root.classList.toggle('offered', entry >= candidateCount && !answered);
  chip.root.classList.toggle('chosen', columnOf(entry) === active.column);
  chip.root.title = chipTitle(entry, isKept);
  chip.root.style.setProperty('--p', Math.max(chance, 0) / probabilitySteps);
  chip.sign.textContent = isKept ? '✓' : entry >= candidateCount && !answered ? '+' : '✕';
  chip.name.textContent = name;
  chip.note.textContent = noteOf(entry);
  chip.chance.textContent = chance < 0 ? '' : (chance / probabilitySteps).toFixed(2);
  chip.spokenText.textContent = isKept ? ', kept' : answered || entry < candidateCount
    ? ', dropped' : ', not among its labels';
}

/** Who decided, or what is special about the program's decision, in a word. */
function noteOf(entry) {
  if (disputed.has(entry)) return 'dispute';
  if (state.value[entry]) return state.by[entry] === ME ? 'you' : nameOf(state.by[entry]);
  return isKeptAsBest(entry) ? 'best' : '';
}

function chipTitle(entry, isKept) {
  const parts = [isolate(classes[columnOf(entry)])];
  if (chanceOf(entry) >= 0) parts.push(`probability ${chanceText(entry)}`);
  if (disputed.has(entry)) {
    parts.push(`in dispute (${disputeText(entry)}): decide it, and it is settled`);
  } else if (state.value[entry]) {
    parts.push(`${isKept ? 'kept' : 'dropped'} by ${nameOf(state.by[entry])}`);
  } else if (entry >= candidateCount) {
    parts.push('not among its labels, perhaps missing');
  } else {
    parts.push(`${isKept ? 'kept' : 'dropped'} by the program`);
    if (isKeptAsBest(entry)) {
      parts.push('below the threshold, but a photo\'s most probable label is never dropped');
    }
  }
  return `${parts[0]}: ${parts.slice(1).join(', ')}`;
}
