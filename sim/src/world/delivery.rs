//! Messages on their way: what is sent arrives late, twice, after the next connection's, or never; and what the
//! JournalNodes do with what arrives.
//!
//! Invariants:
//! * Over one connection messages arrive in the order in which they were sent, each way; only copies and requests that
//!   a reset overtook come at any time.
//! * A request reaches only the process that its connection met, an answer only the life and the connection that asked:
//!   whatever comes later finds nobody.
//! * Every call of a writer that lives ends once: with its answer, or with the end of its connection.

use super::*;

impl World {
    pub(super) fn request_arrives(&mut self, message: Message) {
        let jn = message.jn;
        if self.jns[jn].acceptor.is_none() || self.jns[jn].life != message.jn_life {
            if message.duplicate {
                return;
            }
            let later = self.now + self.around(self.knobs.delay);
            return self.breaks(later, message.nn, message.nn_life, jn, message.connection);
        }
        let effects = self.jns[jn].request(message, self.now);
        self.journalnode_effects(jn, effects);
    }

    pub(super) fn journalnode_effects(&mut self, jn: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Answer(message, result) => self.send_answer(*message, result),
                Effect::Sync => {
                    let time = self.around(self.knobs.sync_time) * self.jns[jn].slowness;
                    let done = Event::SyncDone {
                        jn,
                        life: self.jns[jn].life,
                    };
                    self.at(self.now + time, done);
                }
                Effect::Fetch(message, download) => {
                    let host = download.url.strip_prefix("http://jn").unwrap_or_default();
                    let digits: String = host.chars().take_while(char::is_ascii_digit).collect();
                    let from = digits.parse().unwrap_or(0);
                    let arrival = self.now + 2 * self.around(self.knobs.delay);
                    let life = self.jns[jn].life;
                    self.at(
                        arrival,
                        Event::Fetched {
                            jn,
                            life,
                            message,
                            download,
                            from,
                        },
                    );
                }
            }
        }
    }

    pub(super) fn fetched(&mut self, jn: usize, life: u64, message: Message, download: Download, from: usize) {
        if self.jns[jn].life != life || self.jns[jn].acceptor.is_none() {
            return;
        }
        self.mark("fetched a segment");
        let passes = from == jn || self.partitions.exchange(jn, from);
        let start = match &download.request {
            Request::AcceptRecovery { state, .. } => state.start,
            _ => TxId(0),
        };
        let source = self.jns[from].acceptor.as_mut().filter(|_| passes);
        let file = source.and_then(|acceptor| acceptor.segment_file(start, true).ok().flatten());
        let result = match file {
            None => Err("unreachable".to_owned()),
            Some(file) => copy(&self.jns[from].disk, &file.path, &self.jns[jn].disk, &download.to),
        };
        let effects = self.jns[jn].fetched(message, download, result, self.now);
        self.journalnode_effects(jn, effects);
    }

    fn send_answer(&mut self, message: Message, result: Result<Answer, CallError>) {
        let (nn, jn) = (message.nn, message.jn);
        if message.duplicate {
            return;
        }
        if !self.partitions.passes(Node::JournalNode(jn), Node::NameNode(nn)) {
            self.doom(nn, message.nn_life, jn, message.connection);
            return;
        }
        let delay = self.around(self.knobs.delay);
        let connection = &mut self.nns[nn].connections[jn];
        let arrival = (self.now + delay).max(connection.last_back);
        if connection.id == message.connection {
            connection.last_back = arrival;
        }
        self.at(arrival, Event::Answer(Box::new(message), result));
    }

    pub(super) fn answer_arrives(&mut self, message: Message, result: Result<Answer, CallError>) {
        let (nn, jn) = (message.nn, message.jn);
        let here = &mut self.nns[nn];
        if !here.alive || here.life != message.nn_life || here.connections[jn].id != message.connection {
            return;
        }
        if here.connections[jn].outstanding.remove(&message.call).is_none() {
            return;
        }
        let result = match (self.jns[jn].java, result) {
            (true, Ok(answer)) => Ok(without_lease(answer)),
            (_, result) if self.liar == Some(jn) => result.map(|answer| self.lie(answer)),
            (_, result) => result,
        };
        if let Ok(Answer::Resumed { .. }) = &result {
            self.mark("resumed a segment");
        }
        self.with_writer(nn, |writer, now, out| {
            writer.answer(channel_of(writer, jn), message.call, result, now, out);
        });
    }

    pub(super) fn send(&mut self, nn: usize, jn: usize, call: CallId, request: Request, timeout: Micros) {
        let nn_life = self.nns[nn].life;
        let jn_life = self.jns[jn].life;
        let reset = self.one_in(self.knobs.reset_one_in);
        let delay = self.around(self.knobs.delay);
        let connection = &mut self.nns[nn].connections[jn];
        if connection.outstanding.is_empty() {
            // A connection lives as long as something is under way; a fresh one meets the present process.
            connection.jn_life = jn_life;
        }
        connection.outstanding.insert(call, ());
        let id = connection.id;
        let arrival = (self.now + delay).max(connection.last_there);
        connection.last_there = arrival;
        let message = Message {
            nn,
            nn_life,
            jn,
            jn_life: connection.jn_life,
            connection: id,
            call,
            request,
            duplicate: false,
        };
        let late = Event::Timeout {
            nn,
            nn_life,
            jn,
            connection: id,
            call,
        };
        self.at(self.now + timeout, late);
        if !self.partitions.passes(Node::NameNode(nn), Node::JournalNode(jn)) {
            self.doom(nn, nn_life, jn, id);
            return;
        }
        let daily = matches!(message.request, Request::Journal { .. } | Request::Heartbeat { .. });
        let (one_in, latest) = if self.plan.late_copies && !daily {
            (2, 3_000_000)
        } else {
            (self.knobs.duplicate_one_in, 100 * self.knobs.delay)
        };
        if self.one_in(one_in) && self.fault("duplicate") {
            let copy = Message {
                duplicate: true,
                ..message.clone()
            };
            let later = arrival + self.rng.u64(0..latest);
            self.at(later, Event::Request(Box::new(copy)));
        }
        let lost = self.rng.bool();
        if reset && self.fault(if lost { "lost message" } else { "reordered message" }) {
            self.doom(nn, nn_life, jn, id);
            if lost {
                return;
            }
            // It arrives all the same, perhaps after the requests of the next connection.
            let much_later = arrival + self.rng.u64(0..30 * self.knobs.delay);
            self.at(much_later, Event::Request(Box::new(message)));
            return;
        }
        self.at(arrival, Event::Request(Box::new(message)));
    }

    /// A connection will be found broken.
    fn doom(&mut self, nn: usize, nn_life: u64, jn: usize, connection: u64) {
        let noticed = self.now + self.rng.u64(100..300_000);
        let here = &mut self.nns[nn].connections[jn];
        if here.id == connection && !here.doomed {
            here.doomed = true;
            self.breaks(noticed, nn, nn_life, jn, connection);
        }
    }

    /// A NameNode notices at a time that a connection is broken.
    fn breaks(&mut self, at: Micros, nn: usize, nn_life: u64, jn: usize, connection: u64) {
        let broken = Event::Broken {
            nn,
            nn_life,
            jn,
            connection,
        };
        self.at(at, broken);
    }

    /// Every connection with a process that died is reset.
    pub fn reset_connections(&mut self, jn: usize, silent: bool) {
        for nn in 0..self.nns.len() {
            let here = &self.nns[nn];
            let (nn_life, connection) = (here.life, here.connections[jn].id);
            if here.connections[jn].outstanding.is_empty() {
                continue;
            }
            let noticed = if silent {
                self.rng.u64(10_000..400_000)
            } else {
                self.around(self.knobs.delay)
            };
            self.breaks(self.now + noticed, nn, nn_life, jn, connection);
        }
    }

    pub(super) fn connection_broken(&mut self, nn: usize, nn_life: u64, jn: usize, connection: u64) {
        let here = &mut self.nns[nn];
        if !here.alive || here.life != nn_life || here.connections[jn].id != connection {
            return;
        }
        let end = &mut here.connections[jn];
        end.id += 1;
        end.doomed = false;
        end.last_there = 0;
        end.last_back = 0;
        let lost: Vec<CallId> = std::mem::take(&mut end.outstanding).into_keys().collect();
        for call in lost {
            let broken = CallError::Broken("connection reset".to_owned());
            self.with_writer(nn, |writer, now, out| {
                writer.answer(channel_of(writer, jn), call, Err(broken), now, out);
            });
        }
    }

    /// A call without an answer takes its connection with it.
    pub(super) fn timed_out(&mut self, nn: usize, nn_life: u64, jn: usize, connection: u64, call: CallId) {
        let here = &self.nns[nn];
        let waits = here.life == nn_life
            && here.connections[jn].id == connection
            && here.connections[jn].outstanding.contains_key(&call);
        if waits {
            self.connection_broken(nn, nn_life, jn, connection);
        }
    }
}

/// The channel of a writer that leads to a JournalNode.
fn channel_of(writer: &hathi_journal::QuorumWriter, jn: usize) -> usize {
    let address = crate::journalnode::address(jn);
    let found = writer.addresses().iter().position(|known| *known == address);
    found.unwrap_or(usize::MAX)
}

fn without_lease(answer: Answer) -> Answer {
    match answer {
        Answer::NewEpoch { last_segment, .. } => Answer::NewEpoch {
            last_segment,
            lease_granted_ms: None,
            membership: None,
        },
        Answer::Lease { .. } => Answer::Lease { lease_granted_ms: None },
        other => other,
    }
}
