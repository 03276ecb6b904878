//! What all handlers here share: answers, parameters, and reading what was acknowledged before the question.

use super::super::{
    AppState, Problem,
    request::{Params, blocking},
};
use crate::model::limit::{ANSWER_BYTES_MAX, PERMISSIONS_MAX};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

/// As in the WAZIUP API.
const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 1_000;
/// How many there are in all, for who asks for a page of them.
const TOTAL: &str = "tawi-total";
/// A projection that is further behind than this (a node that has just started) answers with what it has.
const CATCH_UP_EVENTS_MAX: u64 = 50_000;
/// Parameters that clients of the WAZIUP API send to any list; where one means nothing it is passed over.
const KNOWN: [&str; 10] = ["q", "limit", "offset", "sort", "date_from", "date_to", "calibrated", "full", "device_id", "sensor_id"];

pub type Answer = Result<Response, Problem>;

/// 204: done, and durable.
pub fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub fn json<T: Serialize + ?Sized>(shape: &T) -> Answer {
    let bytes = serde_json::to_vec(shape).map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

/// A page of a longer list. It ends early where the next one would make it too long; each is made when it is its turn.
pub fn page<T: Serialize>(shapes: impl IntoIterator<Item = Result<T, Problem>>, total: usize) -> Answer {
    let mut bytes = vec![b'['];
    for shape in shapes {
        let (before, shape) = (bytes.len(), shape?);
        if before > 1 {
            bytes.push(b',');
        }
        serde_json::to_writer(&mut bytes, &shape).map_err(|error| Problem::internal(&error))?;
        if before > 1 && bytes.len() > ANSWER_BYTES_MAX {
            bytes.truncate(before);
            break;
        }
    }
    bytes.push(b']');
    let mut response = ([(header::CONTENT_TYPE, "application/json")], bytes).into_response();
    response.headers_mut().insert(TOTAL, HeaderValue::from(total));
    Ok(response)
}

/// `limit` and `offset`; an empty one is none.
pub fn window(params: &mut Params) -> Result<(usize, usize), Problem> {
    window_of(params, LIMIT_DEFAULT, LIMIT_MAX)
}

/// The same where the cloud has no limit: who does not know of one should get all, as far as that goes.
pub fn window_of_all(params: &mut Params) -> Result<(usize, usize), Problem> {
    window_of(params, LIMIT_MAX, LIMIT_MAX)
}

/// The same for what is small and clients need whole.
pub fn window_of_permissions(params: &mut Params) -> Result<(usize, usize), Problem> {
    window_of(params, PERMISSIONS_MAX, PERMISSIONS_MAX)
}

fn window_of(params: &mut Params, default: usize, most: usize) -> Result<(usize, usize), Problem> {
    let number = |params: &mut Params, name: &'static str| match params.text(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text
            .parse::<usize>()
            .map(Some)
            .map_err(|_| Problem::bad_request(format!("`{}` can't be the parameter `{name}`", short(&text))).field(name)),
    };
    Ok((number(params, "limit")?.unwrap_or(default).min(most), number(params, "offset")?.unwrap_or(0)))
}

/// A switch such as `full`: said without a value it is on.
pub fn switch(params: &mut Params, name: &'static str) -> Result<bool, Problem> {
    match params.text(name).as_deref() {
        None | Some("false" | "False" | "0") => Ok(false),
        Some("" | "true" | "True" | "1") => Ok(true),
        Some(other) => Err(Problem::bad_request(format!("`{name}` is true or false, not `{}`", short(other))).field(name)),
    }
}

/// Refuses parameters that nobody knows, so that a typing error is not an empty filter.
pub fn end(mut params: Params) -> Result<(), Problem> {
    for name in KNOWN {
        while params.text(name).is_some() {}
    }
    params.done()
}

/// What of a text an error repeats.
pub fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Whether a table is wanted rather than JSON: what is named first, where both are.
pub fn wants_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let named = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    let mut named = named.filter(|kind| ["text/csv", "application/json", "*/*"].contains(kind));
    named.next() == Some("text/csv")
}

/// Answers a question once the projection has taken every event that was acknowledged before it: who sent a value, or changed a
/// device through another node, and then asks, gets it.
pub async fn read<T: Send + 'static>(
    state: &AppState,
    question: impl FnOnce(&AppState) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let head = *state.ledger.head().borrow();
    let answer = blocking(state, move |state| {
        while state.devices.position() < head && head - state.devices.position() <= CATCH_UP_EVENTS_MAX {
            let events = state.ledger.events(state.devices.position() + 1, 8_192, 4 << 20)?;
            if events.is_empty() {
                break;
            }
            state.devices.index(&events)?;
        }
        question(state)
    });
    answer.await
}

/// The same for an answer that may be large.
pub async fn read_large(state: &AppState, question: impl FnOnce(&AppState) -> Answer + Send + 'static) -> Answer {
    let share = state.answers.share().await?;
    Ok(share.keep(read(state, question).await?))
}

/// The same before a change, which costs nothing where there is nothing to take.
pub async fn fresh(state: &AppState) -> Result<(), Problem> {
    let head = *state.ledger.head().borrow();
    if state.devices.position() < head { read(state, |_| Ok(())).await } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_of_large_things_is_short_and_never_empty() {
        let made = std::cell::Cell::new(0);
        let large = |bytes: usize| std::iter::repeat_with(move || "x".repeat(bytes));
        let count = async |bytes: usize| -> usize {
            let shapes = large(bytes).take(1_000).inspect(|_| made.set(made.get() + 1)).map(Ok);
            let answer = page(shapes, 1_000).unwrap();
            assert_eq!(answer.headers()[TOTAL], "1000");
            let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            serde_json::from_slice::<Vec<String>>(&bytes).unwrap().len()
        };
        assert_eq!(count(1_000).await, 1_000);
        made.set(0);
        assert_eq!((count(ANSWER_BYTES_MAX / 8).await, made.get()), (7, 8), "what comes behind is not made");
        assert_eq!(count(2 * ANSWER_BYTES_MAX).await, 1);
        assert!(page([Ok(1), Err(Problem::bad_request("no"))], 2).is_err());
    }

    #[test]
    fn a_table_is_for_who_names_it_first() {
        let wants = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            wants_csv(&headers)
        };
        assert!(wants("text/csv") && wants("text/csv;q=0.9, application/json") && wants("text/html, text/csv"));
        assert!(!wants("application/json, text/csv") && !wants("*/*") && !wants("") && !wants("*/*, text/csv"));
        assert!(!wants_csv(&HeaderMap::new()));
    }
}
