// Elements and numbers. Whatever comes from outside becomes text, never markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; texts are text nodes. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.map((child) => child ?? "-"));
  return element;
}

/** Writes a text only where it changed, so that screen readers hear news only. */
export function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

/**
 * Fills a table: `columns` are names, those that end in `#` numbers; a cell is a text or an element. Rows whose texts
 * did not change stay as they are, and with them what is focused or selected.
 */
export function table(id, columns, rows, empty) {
  const element = $(id);
  if (!element.tHead) {
    const heads = columns.map((name) => el("th", { scope: "col", className: name.endsWith("#") ? "number" : "" }, name.replace("#", "")));
    element.append(el("thead", {}, el("tr", {}, ...heads)), el("tbody"));
  }
  const body = element.tBodies[0];
  const wanted = rows.length ? rows : [[empty]];
  wanted.forEach((cells, at) => {
    const print = JSON.stringify(cells.map((cell) => cell?.dataset?.print ?? cell?.textContent ?? cell ?? "-"));
    const old = body.rows[at];
    if (old?.dataset.print === print) return;
    const row = el("tr", {}, ...cells.map((cell, column) => el("td", { className: columns[column].endsWith("#") ? "number" : "", colSpan: rows.length ? 1 : columns.length }, cell)));
    row.dataset.print = print;
    if (old) old.replaceWith(row);
    else body.append(row);
  });
  while (body.rows.length > wanted.length) body.deleteRow(-1);
}

/** A list of pairs as `dt` and `dd`. */
export function pairs(id, entries, boxed) {
  const list = $(id);
  if (list.querySelectorAll("dd").length === entries.length) {
    const [names, values] = [list.querySelectorAll("dt"), list.querySelectorAll("dd")];
    entries.forEach(([name, value], at) => {
      if (names[at].textContent !== name) names[at].textContent = name;
      if (values[at].textContent !== value) values[at].textContent = value;
    });
    return;
  }
  const made = entries.flatMap(([name, value]) => {
    const both = [el("dt", {}, name), el("dd", {}, value)];
    return boxed ? [el("div", {}, ...both)] : both;
  });
  list.replaceChildren(...made);
}

/** A word with a colour, which says nothing that the word does not. */
export const word = (text, kind) => el("span", { className: kind }, text);

export const count = (number) => (number === null || number === undefined ? "-" : number.toLocaleString("en"));
export const rate = (number) => (number >= 100 ? number.toFixed(0) : number.toFixed(1));
export const percent = (share) => (share === null ? "-" : `${(share * 100).toFixed(1)} %`);
export const ms = (number) => (number === null || number === undefined ? "-" : number >= 10_000 ? `${(number / 1000).toFixed(1)} s` : `${number >= 100 ? Math.round(number) : number} ms`);
export const time = (text) => (text ? `${text.slice(11, 19)}` : "-");
export const day = (text) => (text ? text.slice(0, 10) : "-");

/** An amount, which comes as a decimal text, with the digits that eyes need: two, or the first three that are not zero. */
export function usd(text) {
  if (text === null || text === undefined) return "-";
  const number = Number(text);
  if (number === 0) return "$0";
  return `$${Math.abs(number) >= 1 ? number.toFixed(2) : number.toFixed(12).replace(/^(-?0\.0*\d{1,3})\d*$/, "$1")}`;
}

/** Seconds as days, hours, minutes. */
export function span(seconds) {
  const [d, h, m] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min` : `${seconds} s`;
}
