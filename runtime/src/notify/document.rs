//! Notifications and the messages that come of them, as they are stored and as the WAZIUP API shows them. Pure.

use crate::model::{Id, Micros, Seq, limit::THROTTLING_SECONDS_MIN};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// What somebody wants to be told, or done, when readings meet a condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    pub id: Id,
    /// A user. None: a token of the node made it, and it acts with an administrator's rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Id>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub condition: Condition,
    pub action: Action,
    /// Seconds between two firings, at least.
    pub throttling: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Micros>,
    pub status: Status,
    #[serde(default)]
    pub state: State,
    pub date_created: Micros,
    pub date_modified: Micros,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub devices: Vec<Id>,
    /// Whose readings it is looked at for; none: those that the expression names.
    #[serde(default)]
    pub sensors: Vec<Id>,
    pub expression: String,
}

/// In the words of the WAZIUP API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value")]
pub enum Action {
    SocialAction(SocialAction),
    ActuationAction(ActuationAction),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SocialAction {
    #[serde(default)]
    pub usernames: Vec<Id>,
    pub channels: Vec<String>,
    pub message: String,
    /// Where the channel `webhook` posts to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActuationAction {
    pub device_id: Id,
    pub actuator_id: Id,
    pub actuator_value: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Active,
    Inactive,
}

/// What became of it so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub times_sent: u64,
    /// When the reading arrived for which it fired last, and which one it was.
    pub last_notif: Option<Micros>,
    pub last_seq: Seq,
    pub last_success: Option<Micros>,
    pub last_success_code: Option<u16>,
    pub last_failure: Option<Micros>,
    pub last_failure_reason: Option<String>,
}

/// The reading for which a notification fired last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    pub seq: Seq,
    pub received: Option<Micros>,
}

/// One message for one user on one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Social {
    /// The same in every attempt: who is told twice can know.
    pub id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Id>,
    pub channel: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub status: Sending,
    pub attempts: u32,
    /// Not before this.
    pub next_attempt: Micros,
    /// Some node is at it until then: who finds it later may take it over.
    pub claimed_until: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    pub date_created: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_ended: Option<Micros>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sending {
    Pending,
    Sent,
    Failed,
}

impl Notification {
    pub const PREFIX: &'static str = "n:";

    pub fn key(id: &Id) -> String {
        format!("{}{id}", Self::PREFIX)
    }

    pub fn last(&self) -> Last {
        Last { seq: self.state.last_seq, received: self.state.last_notif }
    }

    /// Whether it may fire for a reading with this sequence that arrived at `received`.
    pub fn is_due(&self, seq: Seq, received: Micros) -> bool {
        self.is_due_after(self.last(), seq, received)
    }

    /// The same after a firing that is not stored yet. By the times of the log, so that every node says the same, and as often as it is
    /// asked. A last firing in the future is that of a clock that was wrong.
    pub fn is_due_after(&self, last: Last, seq: Seq, received: Micros) -> bool {
        let since = |last: Micros| received.0.saturating_sub(last.0).saturating_abs();
        let pause = self.throttling.max(THROTTLING_SECONDS_MIN).saturating_mul(Micros::SECOND);
        self.status == Status::Active
            && seq > last.seq
            && received >= self.date_created
            && self.expires.is_none_or(|expires| received < expires)
            && last.received.is_none_or(|last| since(last) >= pause)
    }

    pub fn to_json(&self, now: Micros) -> Json {
        let time = |time: Option<Micros>| time.map(|time| time.to_string());
        let status = match self.status {
            Status::Active if self.expires.is_some_and(|expires| expires <= now) => json!("expired"),
            status => json!(status),
        };
        let mut shown = json!({
            "id": self.id, "owner": self.owner, "description": self.description, "condition": self.condition, "action": self.action,
            "throttling": self.throttling, "expires": time(self.expires), "status": status,
            "times_sent": self.state.times_sent, "last_notif": time(self.state.last_notif),
            "last_success": time(self.state.last_success), "last_success_code": self.state.last_success_code,
            "last_failure": time(self.state.last_failure), "last_failure_reason": self.state.last_failure_reason,
            "date_created": self.date_created.to_string(), "date_modified": self.date_modified.to_string(),
        });
        if let Some(shown) = shown.as_object_mut() {
            shown.retain(|_, value| !value.is_null());
        }
        shown
    }
}

impl Social {
    pub const PREFIX: &'static str = "m:";

    pub fn key(id: &Id) -> String {
        format!("{}{id}", Self::PREFIX)
    }

    pub fn to_json(&self) -> Json {
        let mut shown = json!({
            "id": self.id, "owner": self.owner, "notification": self.notification, "username": self.username, "channel": self.channel,
            "message": self.message, "url": self.url, "status": self.status, "attempts": self.attempts, "error": self.error, "code": self.code,
            "next_attempt": (self.status == Sending::Pending && self.attempts > 0).then(|| self.next_attempt.to_string()),
            "ts": self.date_created.to_string(), "date_created": self.date_created.to_string(),
            "date_ended": self.date_ended.map(|time| time.to_string()),
        });
        if let Some(shown) = shown.as_object_mut() {
            shown.retain(|_, value| !value.is_null());
        }
        shown
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: i64 = Micros::SECOND;

    fn stored() -> Notification {
        let stored = json!({
            "id": "n1", "condition": {"devices": ["MyDevice"], "sensors": ["TC1"], "expression": "TC1>40"},
            "action": {"type": "SocialAction", "value": {"usernames": ["ada"], "channels": ["log"], "message": "${TC1}"}},
            "throttling": 120, "status": "active", "date_created": 0, "date_modified": 0,
        });
        serde_json::from_value(stored).unwrap()
    }

    #[test]
    fn a_notification_fires_no_sooner_than_it_says_and_not_twice_for_one_reading() {
        let mut notification = stored();
        notification.expires = Some(Micros(1_000 * SECOND));
        assert!(notification.is_due(1, Micros(1)));
        notification.state = State { last_seq: 5, last_notif: Some(Micros(100 * SECOND)), ..State::default() };
        for (seq, second, is) in [(5, 300, false), (6, 219, false), (6, 220, true), (6, 1_000, false)] {
            assert_eq!(notification.is_due(seq, Micros(second * SECOND)), is, "{seq} at {second} s");
        }
        // A clock that was a day ahead silences nobody for a day.
        notification.state.last_notif = Some(Micros(86_400 * SECOND));
        assert!(notification.is_due(6, Micros(300 * SECOND)));
        notification.status = Status::Inactive;
        assert!(!notification.is_due(6, Micros(300 * SECOND)));
    }

    #[test]
    fn it_is_shown_as_waziup_shows_it() {
        let shown = stored().to_json(Micros(0));
        assert_eq!(shown["action"]["value"]["channels"][0], "log");
        assert_eq!((&shown["status"], &shown["times_sent"]), (&json!("active"), &json!(0)));
        assert!(shown.get("expires").is_none() && shown.get("last_seq").is_none());
        let expired = Notification { expires: Some(Micros(1)), ..stored() };
        assert_eq!(expired.to_json(Micros(1))["status"], "expired");
    }
}
