//! A call's effects and log lines as events for the log. Pure.

use crate::{
    engine::Failure,
    model::{
        Effects, Event, FunctionId, Id, Kind, LogLevel, LogLine, Micros, NewEvent, Subject, Value,
        event::{Cause, Place},
        limit::HOPS_MAX,
        manifest::Function,
    },
};

/// Why a call may not publish what its app is granted: its function says that it publishes less.
fn not_said(function: &Function, effects: &Effects) -> Option<String> {
    let said = function.publish.as_ref()?;
    let other = effects.messages.iter().find(|message| !said.iter().any(|pattern| pattern.matches(message.subject.as_str())))?;
    Some(format!("`{}` is not published: it is not in the `publish` of `{}` in tawi.toml", other.subject, function.name))
}

/// The call whose effects these are.
pub struct Origin<'a> {
    pub function: &'a FunctionId,
    /// The event handled; none for an HTTP call.
    pub event: Option<&'a Event>,
    pub call: &'a str,
    pub attempt: u32,
    pub now: Micros,
}

impl Origin<'_> {
    /// How a call ended, when what it asks for is looked at as well.
    pub fn judged(&self, ended: Result<(), Failure>, function: &Function, effects: &Effects) -> Result<(), Failure> {
        ended.and_then(|()| {
            let refusal = self.refusal(effects).or_else(|| not_said(function, effects));
            refusal.map_or(Ok(()), |reason| Err(Failure::Reject(reason)))
        })
    }

    /// Why the call may not publish: the event it handles is the end of a chain that has gone on for too long.
    pub fn refusal(&self, effects: &Effects) -> Option<String> {
        let hops = self.event.map_or(0, |event| event.hops());
        let what = match (effects.messages.first(), effects.commands.first()) {
            _ if hops < HOPS_MAX => return None,
            (Some(message), _) => format!("`{}` is not published", message.subject),
            (None, Some(command)) => format!("`{}` of `{}` is not commanded", command.actuator, command.device),
            (None, None) => return None,
        };
        let hint = "does a function, or a circle of them, listen to what it publishes? let it publish on another subject";
        Some(format!("{what}: {hops} events have come of one already, each of the one before; {hint}"))
    }

    /// Messages and commands in the order they were asked for.
    pub fn effects(&self, effects: Effects) -> Vec<NewEvent> {
        let messages = effects.messages.into_iter().map(|message| (Kind::Message, message.subject, None, message.value));
        let commands = effects.commands.into_iter().filter_map(|command| {
            let text = format!("command.{}.{}", command.device.to_token(), command.actuator.to_token());
            let subject = Subject::new(&text).ok()?;
            let value = Value::from_json(&serde_json::json!({ "id": command.id, "value": command.value.to_json() }));
            Some((Kind::Command, subject, Some((command.device, command.actuator)), value))
        });
        let all: Vec<_> = messages.chain(commands).collect();
        all.into_iter().enumerate().map(|(index, (kind, subject, to, value))| self.event(index, kind, subject, to, value)).collect()
    }

    fn event(&self, index: usize, kind: Kind, subject: Subject, to: Option<(Id, Id)>, value: Value) -> NewEvent {
        let from = self.event.map(|event| (event.key.clone(), event.device.clone(), event.measured));
        let (key, device, measured) = from.unwrap_or_else(|| (subject.to_string(), None, self.now));
        let (key, device, sensor) = match to {
            Some((device, actuator)) => (device.to_string(), Some(device), Some(actuator)),
            None => (key, device, None),
        };
        NewEvent {
            tenant: self.function.app.tenant.clone(),
            kind,
            subject,
            key,
            device,
            sensor,
            measured,
            received: self.now,
            value,
            raw: None,
            cause: Some(Box::new(self.cause(index))),
        }
    }

    fn cause(&self, index: usize) -> Cause {
        Cause {
            app: self.function.app.app.clone(),
            function: self.function.function.clone(),
            seq: self.event.map_or(0, |event| event.seq),
            call: self.call.to_owned(),
            place: Place {
                index: u16::try_from(index).unwrap_or(u16::MAX),
                hops: self.event.map_or(0, |event| event.hops().saturating_add(1)),
            },
        }
    }

    /// The call's lines, one about those that were dropped, and the node's own about a failure.
    pub fn logs(&self, lines: Vec<LogLine>, dropped: u64, failure: Option<&str>) -> Vec<NewEvent> {
        let own = |level, message: String| LogLine { time: self.now, level, context: "tawi".into(), message };
        let dropped = (dropped > 0)
            .then(|| own(LogLevel::Warn, format!("{dropped} more log lines were dropped: a call may write so many and so long ones")));
        let failure = failure.map(|reason| own(LogLevel::Error, reason.to_owned()));
        lines.into_iter().chain(dropped).chain(failure).enumerate().filter_map(|(index, line)| self.log(index, line)).collect()
    }

    fn log(&self, index: usize, line: LogLine) -> Option<NewEvent> {
        let subject = Subject::new(&format!("log.{}.{}", self.function.app.app.to_token(), self.function.function.to_token())).ok()?;
        let value = serde_json::json!({
            "level": line.level, "context": line.context, "message": line.message, "call": self.call, "attempt": self.attempt,
        });
        Some(NewEvent {
            tenant: self.function.app.tenant.clone(),
            kind: Kind::Log,
            key: subject.to_string(),
            subject,
            device: self.event.and_then(|event| event.device.clone()),
            sensor: None,
            // When the call began: its own clock may show when its event was received.
            measured: self.now,
            received: self.now,
            value: Value::from_json(&value),
            raw: None,
            cause: Some(Box::new(self.cause(index))),
        })
    }
}
