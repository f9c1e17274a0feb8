// What is shown; kept in the address, so that a reload and the back button keep it.
export const EMPTY = { config: "", beside: [], filter: "", clauses: {}, marks: "", sort: "", descending: false, like: null, start: 0 };

export const state = { ...EMPTY };

export const read = () => {
  Object.assign(state, structuredClone(EMPTY));
  try { Object.assign(state, JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}")); } catch { /* not an address of this page */ }
};

export const keep = () => {
  const set = Object.fromEntries(Object.entries(state).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(EMPTY[name])));
  const address = Object.keys(set).length ? `#${encodeURIComponent(JSON.stringify(set))}` : location.pathname;
  if (address !== (location.hash || location.pathname)) history.pushState(null, "", address);
};

export const query = () => ({
  config: state.config, filter: state.filter, marks: state.marks, sort: state.sort,
  descending: state.descending ? "1" : "0", like: state.like === null ? "" : String(state.like),
  beside: state.config ? state.beside.join(",") : "",
  clauses: JSON.stringify(Object.fromEntries(Object.entries(state.clauses).map(([column, clauses]) => [column, clauses.map((clause) => clauses.length > 1 ? `(${clause})` : clause).join(" or ")]))),
});

export const toggle = (column, clause) => {
  const now = new Set(state.clauses[column] ?? []);
  if (!now.delete(clause)) now.add(clause);
  if (now.size) state.clauses[column] = [...now];
  else delete state.clauses[column];
};
