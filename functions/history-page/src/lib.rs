//! A page that searches the history: `/?q=device:fridge1 AND value:>8&page=2`. JSON for whoever accepts only that.

use serde::Serialize;
use tawi::history::{self, Found, Query};
use tawi::http::{self, Request, Response, StatusCode, header};
use tawi::{Error, ErrorKind, Timestamp};

const ROWS: u32 = 50;

/// One row of the page, and of the JSON.
#[derive(Serialize)]
struct Row {
    measured: Timestamp,
    subject: String,
    value: String,
}

impl From<Found> for Row {
    fn from(found: Found) -> Row {
        let value = found.value.json().map_or_else(|| format!("{} bytes", found.value.bytes().len()), str::to_owned);
        Row { measured: found.measured, subject: found.subject, value }
    }
}

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    let text = http::query(request.uri(), "q").unwrap_or_default();
    let page = http::query(request.uri(), "page").and_then(|page| page.parse().ok()).unwrap_or(1_u32).clamp(1, 1000);
    let query = Query::new(&text).limit(ROWS).offset((page - 1) * ROWS);
    match history::search(&query).and_then(|found| Ok((history::count(&query)?, found))) {
        Ok((total, found)) => {
            let rows: Vec<Row> = found.into_iter().map(Row::from).collect();
            if wants_json(&request) { http::json(&rows) } else { Ok(http::html(render(&text, total, &rows))) }
        }
        // Who asks wrongly is told so; that is no failure of this function.
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(wrong(&error)),
        Err(error) => Err(error),
    }
}

fn wants_json(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("application/json") && !accept.contains("text/html")
}

fn wrong(error: &Error) -> Response {
    http::status(StatusCode::BAD_REQUEST, format!("{error}\n"))
}

fn render(text: &str, total: u64, rows: &[Row]) -> String {
    let row = |row: &Row| format!("<tr><td>{}<td>{}<td>{}\n", row.measured, escape(&row.subject), escape(&row.value));
    format!(
        "<!doctype html>\n<title>History</title>\n<form><input name=q size=60 value=\"{}\"> <button>search</button></form>\n\
         <p>{total} found</p>\n<table>\n<tr><th>measured<th>subject<th>value\n{}</table>\n",
        escape(text),
        rows.iter().map(row).collect::<String>()
    )
}

/// What devices send is shown, never run.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tawi::testing::Host;

    fn host() -> Host {
        let host = Host::new();
        host.past("fridge1", "temp", 9.5, "2018-05-14T12:00:00Z");
        host.past("fridge1", "temp", 4, "2018-05-14T13:00:00Z");
        host.past("door", "<b>", "open", "2018-05-14T14:00:00Z");
        host
    }

    #[test]
    fn a_browser_gets_a_page_and_nothing_in_it_runs() -> tawi::Result {
        let page = host().serve(serve, http::get("/"))?.into_body().text()?;
        assert!(page.contains("3 found"), "{page}");
        assert!(page.contains("reading.door.&lt;b&gt;"), "{page}");
        assert!(page.find("14:00:00") < page.find("13:00:00"), "newest first: {page}");
        Ok(())
    }

    #[test]
    fn a_program_gets_json() -> tawi::Result {
        let mut request = http::get("/?q=device:fridge1+AND+value:%3E8");
        request.headers_mut().insert(header::ACCEPT, http::HeaderValue::from_static("application/json"));
        let rows: tawi::Json = host().serve(serve, request)?.into_body().json()?;
        assert_eq!(rows, tawi::json!([{ "measured": "2018-05-14T12:00:00Z", "subject": "reading.fridge1.temp", "value": "9.5" }]));
        Ok(())
    }

    #[test]
    fn a_wrong_question_is_answered_with_400() -> tawi::Result {
        let response = host().serve(serve, http::get("/?q=colour:blue"))?;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        Ok(())
    }
}
