//! Who suffers in a round, and how.

use std::{fs, os::unix::process::ExitStatusExt, path::Path, sync::atomic::Ordering};
use tawi_platform_tests::{Nats, Node, Proxy, account::Field, wait::LATER, wait_for, wait_until};

/// Readings of a round, before whatever is to happen does: this many, and some that the seed chose.
const READINGS_MIN: u64 = 300;
const READINGS_MORE: u64 = 1_000;
/// How far a clock is set, in microseconds.
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Node,
    Server,
    Both,
    /// Between the node and its server.
    Line,
    Clock,
}

impl Victim {
    /// Whether the node's process is the same one in all rounds.
    pub fn leaves_the_process(self) -> bool {
        matches!(self, Victim::Server | Victim::Line | Victim::Clock)
    }
}

/// A linear congruential generator is random enough to choose a line of code.
pub struct Random(pub u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// One round, with the devices at work. When it is over everything is up again.
pub struct Round<'a> {
    pub number: u64,
    pub node: &'a mut Node,
    /// What the devices are connected to.
    pub proxy: &'a Proxy,
    pub random: &'a mut Random,
    pub field: &'a Field,
    /// The file that sets the node's clock.
    pub clock: &'a Path,
}

impl Round<'_> {
    pub fn play(mut self, victim: Victim) {
        match victim {
            Victim::Node => {
                self.live_and_die();
                self.node_starts();
            }
            Victim::Server => self.server_dies(),
            Victim::Both => self.both_die(),
            Victim::Line => self.line_is_cut(),
            Victim::Clock => self.clock_is_set(),
        }
    }

    fn say(&self, what: &str) {
        eprintln!("round {}: {what}", self.number);
    }

    fn acknowledged(&self) -> u64 {
        self.field.acknowledged.load(Ordering::Relaxed)
    }

    fn wait_for_readings(&self, more: u64) {
        let enough = self.acknowledged() + more;
        wait_for("readings to be acknowledged", LATER, || self.acknowledged(), |n| *n >= enough);
    }

    fn nats(&mut self) -> &mut Nats {
        self.node.nats.as_mut().unwrap()
    }

    fn some(&mut self) -> u64 {
        READINGS_MIN + self.random.below(READINGS_MORE)
    }

    /// At a point inside append, call, commit, indexing or a checkpoint, or at some moment.
    fn choose(&mut self) -> Option<String> {
        let (point, n) = match self.random.below(6) {
            0 => ("append", 10 + self.random.below(100)),
            1 => ("call", 10 + self.random.below(600)),
            2 => ("commit", 5 + self.random.below(100)),
            3 => ("index", 1 + self.random.below(2)),
            4 => ("checkpoint", 1 + self.random.below(2)),
            _ => return None,
        };
        Some(format!("{point}:{n}"))
    }

    /// Starts a node with an end chosen for it, and waits for that; a point that is not passed in time is a `kill -9`.
    fn live_and_die(&mut self) {
        let (fault, more) = (self.choose(), self.some());
        self.say(&format!("{}, or after {more} readings", fault.as_deref().unwrap_or("kill -9")));
        let enough = self.acknowledged() + more;
        self.node.kill9();
        self.node.set_env("TAWI_FAULT", fault.as_deref());
        let ended = match self.node.start_or_end() {
            Ok(()) => {
                self.proxy.mend(self.node.authority().parse().unwrap());
                wait_until("the node's end", LATER, || match (self.node.is_up(), self.acknowledged()) {
                    (false, _) => Ok(Some(self.node.wait_for_end())),
                    (true, n) if n >= enough => Ok(None),
                    (true, n) => Err(format!("{n} readings of {enough}")),
                })
            }
            Err(status) => Some(status),
        };
        self.proxy.cut();
        match ended {
            Some(status) => assert_eq!(status.signal(), Some(9), "the node ended by itself"),
            None => self.node.kill9(),
        }
        self.node.set_env("TAWI_FAULT", None);
    }

    fn node_starts(&mut self) {
        self.node.start_again();
        self.proxy.mend(self.node.authority().parse().unwrap());
    }

    /// The node lives on, without its server for a moment or until somebody has felt it.
    fn server_dies(&mut self) {
        let (more, felt) = (self.some(), self.random.below(2) == 0);
        self.say(&format!("the server after {more} readings{}", if felt { ", until it is missed" } else { "" }));
        self.wait_for_readings(more);
        let before = self.field.refused.load(Ordering::Relaxed);
        self.nats().kill9();
        self.wait_until_felt(felt, before);
        self.nats().restart();
        self.wait_for_readings(READINGS_MIN);
        assert!(self.node.is_up());
    }

    fn wait_until_felt(&self, felt: bool, before: u64) {
        if felt {
            wait_for("a request to be refused", LATER, || self.field.refused.load(Ordering::Relaxed), |n| *n > before);
        }
    }

    fn both_die(&mut self) {
        if self.random.below(2) == 0 {
            let more = self.some();
            self.say(&format!("the server, and then the node, after {more} readings"));
            self.wait_for_readings(more);
            self.nats().kill9();
            self.node.kill9();
            self.proxy.cut();
        } else {
            self.live_and_die();
            self.nats().kill9();
        }
        self.nats().restart();
        self.node_starts();
    }

    /// Three times, in the middle of whatever is said: a batch, an acknowledgement, a heartbeat.
    fn line_is_cut(&mut self) {
        for _ in 0..3 {
            let (bytes, felt) = (usize::try_from(self.random.below(40_000)).unwrap(), self.random.below(2) == 0);
            self.say(&format!("the line after {bytes} more bytes{}", if felt { ", until it is missed" } else { "" }));
            let before = self.field.refused.load(Ordering::Relaxed);
            self.nats().cut_after(bytes);
            wait_for("the line to be cut", LATER, || self.node.nats.as_ref().unwrap().is_cut(), |cut| *cut);
            self.wait_until_felt(felt, before);
            self.nats().mend();
            self.wait_for_readings(READINGS_MIN);
        }
        assert!(self.node.is_up());
    }

    /// Right again at the end: whoever was told to wait by another clock must not wait for that one to come.
    fn clock_is_set(&mut self) {
        for ahead in [-HOUR, DAY, 0, DAY, -HOUR, 0] {
            let more = self.some() / 4;
            self.say(&format!("{more} readings with a clock that is {} hours ahead", ahead / HOUR));
            let new = self.clock.with_extension("new");
            fs::write(&new, ahead.to_string()).unwrap();
            fs::rename(&new, self.clock).unwrap();
            self.wait_for_readings(more);
        }
    }
}
