//! The history by HTTP: `/?q=device:fridge1&from=2018-05-14T00:00:00Z&to=…&limit=10&offset=20`.

use tawi::history::{self, Query};
use tawi::http::{self, Request, Response};
use tawi::json;

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    let parameter = |name| http::query(request.uri(), name);
    let mut query = Query::new(parameter("q").unwrap_or_default());
    if let Some(from) = parameter("from") {
        query = query.from(from.parse()?);
    }
    if let Some(to) = parameter("to") {
        query = query.to(to.parse()?);
    }
    if let Some(limit) = parameter("limit") {
        query = query.limit(limit.parse()?);
    }
    if let Some(offset) = parameter("offset") {
        query = query.offset(offset.parse()?);
    }
    let found = match history::search(&query) {
        Ok(found) => found,
        Err(error) => return http::json(&json!({ "kind": format!("{:?}", error.kind()), "reason": error.reason() })),
    };
    let rows = found.iter().map(|it| {
        json!({
            "subject": it.subject, "device": it.device, "sensor": it.sensor, "value": it.value.json(),
            "measured": it.measured, "received": it.received, "sequence": it.sequence,
        })
    });
    http::json(&json!({ "count": history::count(&query)?, "found": rows.collect::<Vec<_>>() }))
}
