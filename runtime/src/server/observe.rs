//! Every request counted and timed, by its route.

use crate::telemetry::{Metrics, RequestLabels, RouteLabels};
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::Method;
use std::time::Instant;

pub async fn observe(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    // A path would be a series per device, and one per scanner's guess.
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let method = name(request.method());
    let started = Instant::now();
    let response = next.run(request).await;
    let route_labels = RouteLabels { route: route.clone() };
    metrics.request_seconds.get_or_create(&route_labels).observe(started.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&RequestLabels { method, route, status: response.status().as_u16() }).inc();
    response
}

/// Any word can be a method; only the known ones are labels.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
