//! Where what fires goes: to a function, as a trigger, or into the log as a reading of another sensor.

use crate::{
    model::{
        FunctionId, Kind, Micros, NewEvent, Subject, Value,
        derive::Derive,
        event::{Cause, Place},
        limit::HOPS_MAX,
        trigger::Fired,
    },
    time::Firing,
};
use serde_json::json;

pub(super) enum Sink {
    Function(Subject),
    Sensor(Derive),
}

impl Sink {
    /// None where nothing comes of it.
    pub fn event(&self, target: &FunctionId, firing: Firing, now: Micros) -> Option<NewEvent> {
        match self {
            Sink::Function(subject) => Some(trigger(target, subject, firing, now)),
            Sink::Sensor(derive) => reading(target, derive, firing, now),
        }
    }
}

fn cause(target: &FunctionId, firing: &Firing, call: &str) -> Cause {
    Cause {
        app: target.app.app.clone(),
        function: target.function.clone(),
        seq: firing.source,
        call: call.to_owned(),
        place: Place { index: 0, hops: if firing.source == 0 { 0 } else { firing.hops.saturating_add(1) } },
    }
}

fn trigger(target: &FunctionId, subject: &Subject, firing: Firing, now: Micros) -> NewEvent {
    let cause = cause(target, &firing, "trigger");
    NewEvent {
        tenant: target.app.tenant.clone(),
        kind: Kind::Trigger,
        subject: subject.clone(),
        key: firing.key,
        device: firing.device,
        sensor: firing.sensor,
        measured: firing.measured,
        received: now,
        value: firing.fired.to_value(),
        raw: None,
        cause: Some(Box::new(cause)),
    }
}

/// What was made up or calculated says so beside its value; what only passed says nothing.
fn reading(target: &FunctionId, derive: &Derive, firing: Firing, now: Micros) -> Option<NewEvent> {
    let cause = cause(target, &firing, "derived");
    let (device, sensor) = (firing.device?, derive.sensor(&firing.sensor?)?);
    if firing.hops >= HOPS_MAX {
        // Circles are refused; it may have been closed from two nodes at once.
        tracing::warn!(rule = %target, %device, %sensor, "{} readings were made of one, each of the one before: no more are made", firing.hops);
        return None;
    }
    let (measured, value, raw) = match firing.fired {
        Fired::Window(result) => {
            let value = Value::number(derive.what.of(&result.aggregate)?)?;
            let made = json!({
                "made": derive.what.name(),
                "readings": result.aggregate.readings,
                "start": result.start.to_string(),
                "end": result.end.to_string(),
                "revision": result.revision,
            });
            (result.start, value, Some(made))
        }
        Fired::Filled(filled) => {
            let made = filled.gap.map(
                |gap| json!({ "made": "filled", "method": gap.method.name(), "from": gap.from.to_string(), "to": gap.to.to_string() }),
            );
            (firing.measured, filled.value, made)
        }
        _ => return None,
    };
    let raw = raw.map(|made| Box::new(Value::from_json(&made)));
    Some(NewEvent { raw, cause: Some(Box::new(cause)), ..NewEvent::reading(&target.app.tenant, &device, &sensor, measured, now, value) })
}
