// Tabs of photos and classes, and what a change of filters shows.

const TYPING_MS = 150;

let filterTimer = 0;

function showTab(name) {
  for (const [tab, panel] of [['photos', 'photos'], ['classes', 'overview']]) {
    $(panel).hidden = tab !== name;
    $(`tab-${tab}`).setAttribute('aria-selected', tab === name);
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  $('bulk-button').hidden = name !== 'photos';
  if (name === 'classes') {
    showClasses();
    sortClasses();
    drawHeat();
  } else {
    returnToGrid();
  }
}

function pressTabKey(event) {
  if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
  event.preventDefault();
  const other = $('photos').hidden ? 'photos' : 'classes';
  showTab(other);
  $(`tab-${other}`).focus();
}

function filtersChangeSoon(milliseconds) {
  clearTimeout(filterTimer);
  filterTimer = setTimeout(filtersChanged, milliseconds);
}

function filtersChanged() {
  clearTimeout(filterTimer);
  applyFilters();
  refreshBulk();
  refreshTask();
  announce(`${plural(shown.length, 'photo')} shown`);
}

function filterByClass(column) {
  $('filter-form').reset();
  $('class').value = String(column);
  classChosen();
  filtersChanged();
  showTab('photos');
  $('class').focus();
}
