use super::{
    Call, HistoryPage, HistoryQuery, HostError,
    bindings::tawi::app::history::{Found, Host, Query},
    value_out,
};
use crate::model::{Micros, limit::HISTORY_HITS_MAX};

impl Host for Call {
    async fn search(&mut self, query: Query) -> Result<Vec<Found>, HostError> {
        let limit = (query.limit as usize).min(HISTORY_HITS_MAX);
        let page = self.ask(query, limit).await?;
        Ok(page.events.into_iter().map(found).collect())
    }

    async fn count(&mut self, query: Query) -> Result<u64, HostError> {
        Ok(self.ask(query, 0).await?.total)
    }
}

impl Call {
    async fn ask(&mut self, query: Query, limit: usize) -> Result<HistoryPage, HostError> {
        let query =
            HistoryQuery { text: query.text, from: query.from.map(Micros), to: query.to.map(Micros), limit, offset: query.offset as usize };
        self.world.history(query).await.map_err(HostError::Invalid)
    }
}

fn found(event: crate::model::Event) -> Found {
    Found {
        subject: event.subject.to_string(),
        device: event.device.as_ref().map(ToString::to_string),
        sensor: event.sensor.as_ref().map(ToString::to_string),
        value: value_out(&event.value),
        measured: event.measured.0,
        received: event.received.0,
        sequence: event.seq,
    }
}
