//! Commands that come in by a door: events of the log, as those of functions are.

use super::{Cleaned, Ingest, IngestError, Mark, Stored};
use crate::model::{Id, Kind, Micros, NewEvent, Subject, Tenant, Value};

/// A command for one actuator.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub tenant: Tenant,
    pub device: Id,
    pub actuator: Id,
    pub value: Value,
    /// The same in every attempt of whoever gives it.
    pub id: String,
}

impl Order {
    fn event(self, now: Micros) -> Option<NewEvent> {
        let subject = Subject::new(&format!("command.{}.{}", self.device.to_token(), self.actuator.to_token())).ok()?;
        Some(NewEvent {
            tenant: self.tenant,
            kind: Kind::Command,
            subject,
            key: self.device.to_string(),
            device: Some(self.device),
            sensor: Some(self.actuator),
            measured: now,
            received: now,
            value: Value::from_json(&serde_json::json!({ "id": self.id, "value": self.value.to_json() })),
            raw: None,
            cause: None,
        })
    }
}

impl Ingest {
    /// Puts commands into the log, all or none; when it returns Ok they are synced. As [`Ingest::store_in_turn`] for the rest.
    pub async fn command(&self, orders: Vec<Order>, now: Micros, mark: Option<Mark>, turn: impl Send) -> Result<Stored, IngestError> {
        let Some(tenant) = orders.first().map(|order| order.tenant.clone()) else {
            return Ok(Stored { seqs: Vec::new(), duplicate: false });
        };
        let events = orders.into_iter().filter_map(|order| order.event(now)).collect();
        self.take_in(tenant, Cleaned::untouched(events), mark, turn).await
    }
}
