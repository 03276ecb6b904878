//! The ledger under a simulated node.

use crate::ledger::{
    Ledger, LedgerError,
    tests::{
        floor::{Embedded, Node, Stream},
        sim::{Dice, SimDisk},
    },
};
use futures::future::BoxFuture;

/// Where the log of a history is.
pub enum Ground {
    /// On the disk of its only node.
    Disk,
    /// On a server, for all nodes.
    Server(Stream),
}

pub enum Floor {
    Embedded(Embedded),
    Jetstream(Node),
}

impl Ground {
    /// `name`: the node's.
    pub fn open(&self, disk: &SimDisk, name: &str) -> Result<Floor, LedgerError> {
        Ok(match self {
            Ground::Disk => Floor::Embedded(Embedded::open(disk)?),
            Ground::Server(stream) => Floor::Jetstream(Node::open(disk, stream, name)?),
        })
    }
}

impl Floor {
    /// What of it is a task of the node.
    pub fn task(&mut self) -> Option<BoxFuture<'static, ()>> {
        match self {
            Floor::Embedded(_) => None,
            Floor::Jetstream(node) => Some(node.publisher()),
        }
    }

    pub fn ledger(&self) -> &Ledger {
        match self {
            Floor::Embedded(embedded) => &embedded.ledger,
            Floor::Jetstream(node) => &node.ledger,
        }
    }

    /// One part does some of its work.
    pub fn step(&mut self, dice: &mut Dice) {
        match self {
            Floor::Embedded(embedded) => match dice.below(12) {
                0..=5 => _ = embedded.write(),
                6..=10 => embedded.apply(),
                _ => embedded.rest(),
            },
            Floor::Jetstream(node) => node.step(dice),
        }
    }

    /// All of them do what there is to do.
    pub fn work(&mut self) {
        match self {
            Floor::Embedded(embedded) => {
                while embedded.write() {}
                embedded.apply();
            }
            Floor::Jetstream(node) => {
                node.connect();
                node.refuse(0);
                node.work();
            }
        }
    }

    pub fn is_idle(&self) -> bool {
        match self {
            Floor::Embedded(embedded) => embedded.is_idle(),
            Floor::Jetstream(node) => node.is_idle(),
        }
    }
}
