//! How many sessions are kept, and of whom: so that nobody takes the room of everybody. Pure.

use crate::model::limit::{MQTT_SESSIONS_MAX, MQTT_SESSIONS_SHARE_MAX};
use std::{collections::HashMap, sync::Arc};

#[derive(Debug, Default)]
pub struct Shares {
    all: usize,
    of: HashMap<Arc<str>, usize>,
}

impl Shares {
    /// As they were counted.
    pub fn of(of: HashMap<Arc<str>, usize>) -> Shares {
        Shares { all: of.values().sum(), of }
    }

    /// One more; false where there is no room for it.
    pub fn take(&mut self, who: &Arc<str>) -> bool {
        let taken = self.of.get(who).copied().unwrap_or_default();
        if self.all >= MQTT_SESSIONS_MAX || taken >= MQTT_SESSIONS_SHARE_MAX {
            return false;
        }
        self.all += 1;
        *self.of.entry(who.clone()).or_default() += 1;
        true
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.all
    }

    pub fn give_back(&mut self, who: &Arc<str>) {
        if let Some(taken) = self.of.get_mut(who).filter(|taken| **taken > 0) {
            *taken -= 1;
            self.all = self.all.saturating_sub(1);
            if *taken == 0 {
                self.of.remove(who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_its_share_gets_no_more_and_others_do() {
        let (mut shares, ada, bob): (_, Arc<str>, Arc<str>) = (Shares::default(), "user:ada".into(), "user:bob".into());
        for _ in 0..MQTT_SESSIONS_SHARE_MAX {
            assert!(shares.take(&ada));
        }
        assert!(!shares.take(&ada) && shares.take(&bob));
        shares.give_back(&ada);
        assert!(shares.take(&ada) && !shares.take(&ada));
        for other in 0..MQTT_SESSIONS_MAX {
            shares.take(&format!("user:{}", other % 100).into());
        }
        assert!(!shares.take(&bob), "all of it is taken");
        shares.give_back(&"user:carol".into());
        assert!(!shares.take(&bob), "who has none gives none back");
        shares.give_back(&ada);
        assert!(shares.take(&bob));
    }
}
