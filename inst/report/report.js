// The table of genes: a search, a sort by column, and more rows on request. Nothing is fetched.
(function () {
  "use strict";
  var data = JSON.parse(document.getElementById("gene-data").textContent);
  var table = document.getElementById("gene-table");
  var search = document.getElementById("gene-search");
  var count = document.getElementById("gene-count");
  var more = document.getElementById("gene-more");
  var page = 25;
  var genes = data.columns[0];
  var state = { rows: [], shown: page, column: -1, down: true };

  var whole = data.columns.map(function (values) {
    return values.every(function (value) { return value === null || Number.isInteger(value); });
  });

  function format(value, column) {
    if (value === null) return "";
    if (typeof value === "string") return value;
    if (whole[column]) return value.toLocaleString("en");
    var size = Math.abs(value);
    if (size !== 0 && (size < 0.001 || size >= 1e5)) return value.toExponential(2);
    return value.toFixed(size < 10 ? 3 : 1);
  }

  // Text that is no regular expression is looked for as it is.
  function matcher(text) {
    try {
      return new RegExp(text, "i");
    } catch (e) {
      return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
    }
  }

  function find() {
    var wanted = matcher(search.value.trim());
    state.rows = [];
    for (var i = 0; i < genes.length; i++) {
      if (wanted.test(genes[i])) state.rows.push(i);
    }
    state.shown = page;
    sort();
  }

  function sort() {
    if (state.column >= 0) {
      var values = data.columns[state.column];
      var sign = state.down ? -1 : 1;
      state.rows.sort(function (a, b) {
        var x = values[a], y = values[b];
        // What is unknown comes last, whichever way.
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return (x < y ? -sign : x > y ? sign : a - b);
      });
    } else {
      state.rows.sort(function (a, b) { return a - b; });
    }
    draw();
  }

  function cell(kind, text, right) {
    var out = document.createElement(kind);
    out.textContent = text;
    if (right) out.className = "right";
    return out;
  }

  function draw() {
    var body = document.createElement("tbody");
    state.rows.slice(0, state.shown).forEach(function (i) {
      var row = document.createElement("tr");
      data.columns.forEach(function (values, k) {
        row.appendChild(cell("td", format(values[i], k), k > 0));
      });
      body.appendChild(row);
    });
    table.replaceChild(body, table.tBodies[0]);
    count.textContent = state.rows.length.toLocaleString("en") + " of " +
      genes.length.toLocaleString("en") + " genes";
    more.hidden = state.shown >= state.rows.length;
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, k) {
      head.setAttribute("aria-sort", k !== state.column ? "none" : state.down ? "descending" : "ascending");
      head.firstChild.textContent = data.titles[k] + (k !== state.column ? "" : state.down ? " \u25bc" : " \u25b2");
    });
  }

  var head = document.createElement("tr");
  data.titles.forEach(function (title, k) {
    var th = cell("th", "", k > 0);
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = title;
    button.addEventListener("click", function () {
      // Names and ranks from their start, everything else from its highest.
      var up = k === 0 || data.names[k] === "rank";
      state.down = state.column === k ? !state.down : !up;
      state.column = k;
      sort();
    });
    th.appendChild(button);
    head.appendChild(th);
  });
  table.tHead.appendChild(head);
  search.addEventListener("input", find);
  more.addEventListener("click", function () {
    state.shown += 100;
    draw();
  });
  find();
})();
