// Orders of photos: by the probability of the class that is looked at, or else of any label.

const ORDERS_HELD = 8;  // in memory
const orders = new Map();
const classThresholds = new Map();  // column -> probability, where the user has set one

/** Images by a whole, non-negative number each, ties as in the label file. */
function orderBy(number) {
  // A sort of plain numbers is many times faster than one with a function to compare them.
  const keys = new Float64Array(imageCount);
  for (let image = 0; image < imageCount; image++) {
    keys[image] = number(image) * imageCount + image;
  }
  return Uint32Array.from(keys.sort(), (key) => key % imageCount);
}

/** The least of `number` over an image's labels, of one class if asked; else `otherwise`. */
function least(image, column, number, otherwise) {
  let result = otherwise;
  for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
    if (column < 0 || columns[entry] === column) result = Math.min(result, number(probability[entry]));
  }
  if (column < 0) return result;
  for (let place = image * likelyCount; place < (image + 1) * likelyCount; place++) {
    if (likely[place] === column) result = Math.min(result, number(likelyProbability[place]));
  }
  return result;
}

const thresholdOf = (column) => classThresholds.get(column) ?? data.threshold;

/** Numbers below 2 ** 22 that look random and are the same each time. */
function scattered(image) {
  let hash = Math.imul(image + 1, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 10;
}

const ORDERS = {
  suspicious: (column) => orderBy((image) => least(image, column, (p) => p, probabilitySteps)),
  trusted: (column) => orderBy((image) => column < 0
    ? probabilitySteps - least(image, column, (p) => p, probabilitySteps)
    : least(image, column, (p) => probabilitySteps - p, probabilitySteps)),
  border: (column) => {
    const threshold = Math.round(thresholdOf(column) * probabilitySteps);
    return orderBy((image) =>
      least(image, column, (p) => Math.abs(p - threshold), probabilitySteps));
  },
  random: () => orderBy(scattered),
  name: () => Uint32Array.from({length: imageCount}, (_, image) => image)
    .sort((a, b) => paths[a] < paths[b] ? -1 : paths[a] > paths[b] ? 1 : a - b),
  file: () => Uint32Array.from({length: imageCount}, (_, image) => image),
};

function ordered(name, column) {
  const byClass = ['suspicious', 'trusted', 'border'].includes(name);
  const key = byClass ? `${name} ${column} ${name === 'border' ? thresholdOf(column) : ''}` : name;
  const result = orders.get(key) ?? ORDERS[name](byClass ? column : -1);
  orders.set(key, result);
  if (orders.size > ORDERS_HELD) orders.delete(orders.keys().next().value);
  return result;
}

/** With a class chosen, photos that need a decision come first: those nearest to its threshold. */
function classChosen() {
  const [one, any] = ['border', 'suspicious'];
  if (chosenColumn() >= 0 && $('sort').value === any) $('sort').value = one;
  if (chosenColumn() < 0 && $('sort').value === one) $('sort').value = any;
}
