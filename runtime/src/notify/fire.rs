//! What a firing comes to: messages, or a command, and the notification as it is afterwards. Pure.

use super::{Action, ActuationAction, Name, Notification, Social, SocialAction, wish::recipients};
use crate::model::{
    Event, Id, Kind, Micros, NewEvent, Subject, Value,
    event::{Cause, Place},
    limit::{HOPS_MAX, MESSAGE_BYTES_MAX},
};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// A notification whose condition a reading meets.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub id: Id,
    /// Of the notification that the condition was looked up in: another one since means another condition.
    pub modified: Micros,
    pub event: std::sync::Arc<Event>,
    /// The device that the condition was looked at for: the one that sent the reading, or one that is compared with it.
    pub device: Id,
    /// Of the sensors that condition and action name, as far as they are known.
    pub values: BTreeMap<Name, Value>,
}

/// What is written in one step.
#[derive(Debug)]
pub struct Fired {
    pub notification: Notification,
    pub socials: Vec<Social>,
    pub command: Option<NewEvent>,
}

/// What a firing may do.
#[derive(Debug, Clone)]
pub struct Leave {
    /// Why the command is refused.
    pub command: Result<(), String>,
    /// Messages that the owner may still have on the way.
    pub messages: usize,
    pub now: Micros,
    /// Until when this node has the messages for itself.
    pub claimed_until: Micros,
}

/// The place of the node's own causes, beside those of apps.
const APP: &str = "~notify";

/// It has fired, and that is all.
fn counted(notification: &Notification, candidate: &Candidate) -> Notification {
    let mut after = notification.clone();
    after.state.last_notif = Some(candidate.event.received);
    after.state.last_seq = candidate.event.seq;
    after.state.times_sent += 1;
    after
}

/// A firing that comes to nothing, which the notification shows.
pub fn fail(notification: &Notification, candidate: &Candidate, now: Micros, why: String) -> Fired {
    let mut after = counted(notification, candidate);
    (after.state.last_failure, after.state.last_failure_reason) = (Some(now), Some(why));
    Fired { notification: after, socials: Vec::new(), command: None }
}

pub fn fire(notification: &Notification, candidate: &Candidate, leave: &Leave) -> Fired {
    let mut after = counted(notification, candidate);
    let (mut socials, mut command) = (Vec::new(), None);
    let done = match &notification.action {
        Action::SocialAction(action) => {
            socials = letters(notification, action, candidate, leave);
            match socials.len() > leave.messages {
                true => Err("too many messages of this owner are on the way already: this one is not sent".to_owned()),
                false => Ok(None),
            }
        }
        Action::ActuationAction(action) => leave.command.clone().and_then(|()| {
            command = Some(commanded(notification, action, candidate, leave.now)?);
            Ok(Some(leave.now))
        }),
    };
    match done {
        Ok(None) => {}
        Ok(Some(time)) => (after.state.last_success, after.state.last_success_code) = (Some(time), None),
        Err(why) => return fail(notification, candidate, leave.now, why),
    }
    Fired { notification: after, socials, command }
}

fn letters(notification: &Notification, action: &SocialAction, candidate: &Candidate, leave: &Leave) -> Vec<Social> {
    let message = filled(&action.message, candidate);
    let pairs = recipients(&action.usernames, &action.channels);
    let social = |(nth, (username, channel)): (usize, (Option<Id>, String))| {
        let id = Id::new(&format!("{}-{}-{nth}", notification.id, candidate.event.seq)).ok()?;
        let mut social = Social::new(id, notification.owner.clone(), leave.now);
        (social.username, social.channel) = (username, channel);
        (social.message, social.url) = (message.clone(), action.url.clone());
        social.subject = notification.description.clone();
        social.notification = Some(notification.id.clone());
        social.claimed_until = leave.claimed_until;
        Some(social)
    };
    pairs.into_iter().enumerate().filter_map(social).collect()
}

/// A command as functions and people give it, with the notification as its cause.
fn commanded(notification: &Notification, action: &ActuationAction, candidate: &Candidate, now: Micros) -> Result<NewEvent, String> {
    let event = &candidate.event;
    if event.hops() >= HOPS_MAX {
        return Err(format!("{} events have come of one already, each of the one before: the command is not given", event.hops()));
    }
    let subject = format!("command.{}.{}", action.device_id.to_token(), action.actuator_id.to_token());
    let id = format!("{}-{}", notification.id, event.seq);
    let value = value_of(&action.actuator_value, candidate);
    Ok(NewEvent {
        tenant: event.tenant.clone(),
        kind: Kind::Command,
        subject: Subject::new(&subject).map_err(|error| error.to_string())?,
        key: action.device_id.to_string(),
        device: Some(action.device_id.clone()),
        sensor: Some(action.actuator_id.clone()),
        measured: now,
        received: now,
        value: Value::from_json(&json!({ "id": id, "value": value })),
        raw: None,
        cause: Some(Box::new(Cause {
            app: Id::new(APP).map_err(|error| error.to_string())?,
            function: notification.id.clone(),
            seq: event.seq,
            call: id,
            place: Place { index: 0, hops: event.hops().saturating_add(1) },
        })),
    })
}

/// `"${TC1}"` alone is the sensor's value as it is; in a longer text, its text.
fn value_of(wanted: &Json, candidate: &Candidate) -> Json {
    let Json::String(text) = wanted else { return wanted.clone() };
    let alone = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).filter(|name| !name.contains('}'));
    match alone.and_then(|name| candidate.value(name)) {
        Some(value) => value.to_json(),
        None => Json::String(filled(text, candidate)),
    }
}

/// The names that a text asks for.
pub fn names_in(text: &str) -> Vec<Name> {
    text.split("${").skip(1).filter_map(|rest| Name::parse(rest.split_once('}')?.0)).collect()
}

/// The texts that an action fills in.
pub fn names_of(action: &Action) -> Vec<Name> {
    match action {
        Action::SocialAction(action) => names_in(&action.message),
        Action::ActuationAction(action) => action.actuator_value.as_str().map(names_in).unwrap_or_default(),
    }
}

/// A text with its `${…}` filled in, cut where it gets too long. What is not known is a question mark.
fn filled(text: &str, candidate: &Candidate) -> String {
    let mut parts = text.split("${");
    let mut full = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}') {
            Some((name, rest)) => {
                full.push_str(&candidate.text(name));
                full.push_str(rest);
            }
            None => {
                full.push_str("${");
                full.push_str(part);
            }
        }
        if full.len() > MESSAGE_BYTES_MAX {
            break;
        }
    }
    let mut end = full.len().min(MESSAGE_BYTES_MAX);
    while !full.is_char_boundary(end) {
        end -= 1;
    }
    full.truncate(end);
    full
}

impl Candidate {
    fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(&Name::parse(name)?)
    }

    fn text(&self, name: &str) -> String {
        let known = self.value(name).map(|value| match value.to_json() {
            Json::String(text) => text,
            other => other.to_string(),
        });
        let other = || match name {
            "device_id" => Some(self.device.to_string()),
            "timestamp" => Some(self.event.measured.to_string()),
            _ => None,
        };
        known.or_else(other).unwrap_or_else(|| "?".to_owned())
    }
}
