// A reader's choices, kept in the address after '#', so that a link or a reload shows the same view.

// defaults: the value of each choice; accepted: for some of them, a function that refuses other values.
export function createStore(defaults, accepted) {
  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const state = { ...defaults };
    for (const name of Object.keys(defaults)) {
      const value = given.get(name);
      if (value !== null && (!accepted[name] || accepted[name](value))) state[name] = value;
    }
    return state;
  }

  function write(state) {
    const changed = Object.entries(state).filter(([name, value]) => value !== defaults[name]);
    const text = new URLSearchParams(changed).toString();
    const target = location.pathname + location.search + (text ? "#" + text : "");
    if (location.hash.slice(1) !== text) history.replaceState(null, "", target);
  }

  return {
    read,
    state: read(),
    listeners: [],
    listen(listener) {
      this.listeners.push(listener);
    },
    set(patch) {
      const before = this.state;
      this.state = { ...before, ...patch };
      write(this.state);
      for (const listener of this.listeners) listener(this.state, before);
    },
  };
}
