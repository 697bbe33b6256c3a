// The table of classes: how many of each one's candidates are kept, dropped and decided, and its
// threshold, where "Many at once" has set one.

const CLASS_ORDERS = {
  share: (a, b) => shareDropped(b) - shareDropped(a) || counts.total[b] - counts.total[a] || a - b,
  count: (a, b) => counts.total[b] - counts.total[a] || a - b,
  name: (a, b) => classes[a].localeCompare(classes[b]) || a - b,
  file: (a, b) => a - b,
};
const shareDropped = (column) => counts.total[column]
  ? 1 - counts.kept[column] / counts.total[column] : -1;
const classRows = [];

function makeClassRow(column) {
  const row = document.createElement('tr');
  const head = element('th', '', row);
  head.scope = 'row';
  const link = button('link', head);
  link.title = classes[column];
  element('bdi', '', link).textContent = classes[column];
  const bar = element('div', 'bar-of-class', element('td', 'bars', row));
  const keptBar = element('div', 'kept', bar);
  const droppedBar = element('div', 'dropped', bar);
  const cells = ['kept', 'dropped', 'decided', 'threshold'].map((name) => element('td', `n ${name}`, row));
  return {row, keptBar, droppedBar, cells};
}

/** The class whose name an element belongs to, or -1. */
function classAt(target) {
  const row = target.closest('.link')?.closest('tr');
  return classRows.findIndex((classRow) => classRow.row === row);
}

function showClasses() {
  if (!classRows.length) classes.forEach((_, column) => classRows.push(makeClassRow(column)));
  const most = counts.total.reduce((a, b) => Math.max(a, b), 1);
  classRows.forEach(({keptBar, droppedBar, cells}, column) => {
    const dropped = counts.total[column] - counts.kept[column];
    keptBar.style.width = `${100 * counts.kept[column] / most}%`;
    droppedBar.style.width = `${100 * dropped / most}%`;
    [counts.kept[column], dropped, counts.decidedBy[column]].forEach((number, index) => {
      cells[index].textContent = grouped(number);
    });
    cells[3].textContent = thresholdOf(column).toFixed(2);
    cells[3].classList.toggle('own', classThresholds.has(column));
  });
}

/** Only when asked: rows that move while decisions are made are hard to follow. */
function sortClasses() {
  const order = classes.map((_, column) => column).sort(CLASS_ORDERS[$('class-sort').value]);
  $('class-rows').append(...order.map((column) => classRows[column].row));
}
