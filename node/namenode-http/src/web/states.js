// States in words.

/** The state of a NameNode: a word, and a class of .state. */
export function stateOf(namenode) {
  if (!namenode.reachable) {
    return namenode.last_heard ? ["dead", "bad"] : ["not yet heard of", "unknown"];
  }
  if (namenode.state === "initializing") return ["loading", "warn"];
  if (namenode.role === "BecomingActive") return ["becoming active", "warn"];
  if (namenode.role === "SteppingDown") return ["stepping down", "warn"];
  if (namenode.state === "active") return ["active", "good"];
  return [namenode.state, "standby"];
}
