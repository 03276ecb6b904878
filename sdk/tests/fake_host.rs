//! The fake host has the rules of the node: what a unit test lets pass, the node lets pass.

use std::io::Read;
use tawi::http::{self, Body, Request, Response};
use tawi::testing::Host;
use tawi::{Error, ErrorKind, Event, Json, command, config, history, json, log, publish, state};

fn kind<T>(result: tawi::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn subjects_of_the_node_and_subjects_that_are_not_granted_are_denied() {
    let host = Host::new();
    for subject in ["reading.fridge1.temp", "command.pump", "log", "tawi.v1"] {
        assert_eq!(kind(publish(subject, &1)), Some(ErrorKind::Denied), "{subject}");
    }
    host.grant_publish(&["alerts.*", "mail.>"]);
    for (subject, refused) in [("alerts.a", false), ("alerts.a.b", true), ("mail.a.b", false), ("mail", true), ("other", true)] {
        assert_eq!(publish(subject, &1).is_err(), refused, "{subject}");
    }
}

#[test]
fn malformed_arguments_are_named() {
    let _host = Host::new();
    for subject in ["", "a..b", "a.*", "a b", "a.>"] {
        assert_eq!(kind(publish(subject, &1)), Some(ErrorKind::Invalid), "{subject:?}");
    }
    assert_eq!(kind(publish::value("a", tawi::Value::Json("{,}".into()))), Some(ErrorKind::Invalid));
    assert_eq!(kind(command::send("a/b", "valve", &1)), Some(ErrorKind::Invalid));
    assert_eq!(kind(state::set("", &1)), Some(ErrorKind::Invalid));
    assert_eq!(kind(history::search(&history::Query::new("colour:blue"))), Some(ErrorKind::Invalid));
    assert_eq!(kind(http::fetch(http::get("/nowhere"))), Some(ErrorKind::Invalid));
}

#[test]
fn limits_are_those_of_the_node() {
    let host = Host::new();
    assert_eq!(kind(state::set(&"k".repeat(513), &1)), Some(ErrorKind::Limit));
    assert_eq!(kind(state::set_bytes("k", &vec![0; 256 * 1024 + 1])), Some(ErrorKind::Limit));
    assert_eq!(kind(publish::bytes("a", &vec![0; 64 * 1024 + 1])), Some(ErrorKind::Limit));
    let many = |_: Event| -> tawi::Result { (0..1001).try_for_each(|i| publish("a", &i)) };
    assert_eq!(kind(host.run(many, host.event("reading.d.s", 1))), Some(ErrorKind::Limit));
    let much = |_: Event| -> tawi::Result { (0..9).try_for_each(|_| publish::bytes("a", &vec![0; 60 * 1024])) };
    assert_eq!(kind(host.run(much, host.event("reading.d.s", 1))), Some(ErrorKind::Limit));
    assert!(host.published().is_empty());
}

#[test]
fn log_lines_of_a_failed_call_are_kept_and_too_many_are_not() {
    let host = Host::new();
    let chatter = |_: Event| -> tawi::Result {
        log::info!("{}", "é".repeat(4 * 1024));
        for i in 0..1000 {
            log::debug!("{i}");
        }
        Err(Error::retry("enough"))
    };
    assert!(host.run(chatter, host.event("reading.d.s", 1)).is_err());
    assert_eq!(host.logs()[0].message.len(), 4 * 1024);
    assert_eq!(host.logs()[0].context, "fake_host");
    assert_eq!(host.logs().len(), 256);
}

#[test]
fn a_call_sees_its_own_writes_and_a_failed_one_leaves_none() -> tawi::Result {
    let host = Host::new();
    state::set("a/1", &1)?;
    let handler = |_: Event| -> tawi::Result {
        state::set("a/2", &2)?;
        state::delete("a/1")?;
        let seen = state::entries::<u32>("a/").collect::<tawi::Result<Vec<_>>>()?;
        assert_eq!(seen, [("a/2".to_owned(), 2)]);
        Err(Error::reject("changed my mind"))
    };
    assert!(host.run(handler, host.event("reading.d.s", 1)).is_err());
    assert_eq!(host.state_keys(), ["a/1"]);
    Ok(())
}

#[test]
fn a_number_comes_back_from_the_state_to_the_last_bit() -> tawi::Result {
    let _host = Host::new();
    // A parser that is quick and not exact reads each of these back as its neighbour.
    for number in [1.1099999999999999, 3.6999999999999997, 20.349999999999998, 51.248178375505404_f64] {
        state::set("n", &number)?;
        assert_eq!(state::get::<f64>("n")?.map(f64::to_bits), Some(number.to_bits()));
    }
    Ok(())
}

#[test]
fn entries_come_page_by_page_and_all_of_them() -> tawi::Result {
    let _host = Host::new();
    for i in 0..2500 {
        state::set(&format!("n/{i:04}"), &i)?;
    }
    state::set("o", &0)?;
    let found = state::entries::<u32>("n/").collect::<tawi::Result<Vec<_>>>()?;
    assert!(found.iter().map(|(_, i)| *i).eq(0..2500));
    Ok(())
}

/// A page has a limit of bytes as well: one that is short of entries is not the last.
#[test]
fn large_entries_come_page_by_page_too() -> tawi::Result {
    let _host = Host::new();
    for i in 0..20 {
        state::set_bytes(&format!("n/{i:02}"), &[i; 200 * 1024])?;
    }
    let found = state::entries_bytes("n/").collect::<tawi::Result<Vec<_>>>()?;
    assert!(found.iter().map(|(_, bytes)| bytes[0]).eq(0..20));
    Ok(())
}

#[test]
fn what_a_body_does_after_the_head_is_kept_only_if_it_ends_well() -> tawi::Result {
    let host = Host::new();
    let late = |request: Request| -> tawi::Result<Response> {
        publish("head", &1)?;
        let good = request.uri().path() == "/good";
        Ok(Response::new(Body::stream(move |out| {
            out.write_all(b"some")?;
            publish("body", &1)?;
            if good { Ok(()) } else { Err(Error::retry("no more")) }
        })))
    };
    assert!(host.serve(late, http::get("/bad")).is_err());
    assert_eq!(host.published().iter().map(|it| it.subject.clone()).collect::<Vec<_>>(), ["head"]);
    assert_eq!(host.serve(late, http::get("/good"))?.into_body().text()?, "some");
    assert_eq!(host.published().len(), 3);
    Ok(())
}

#[test]
fn bodies_are_read_piece_by_piece_or_whole() -> tawi::Result {
    let mut body = Body::from("hello");
    let mut two = [0; 2];
    body.read_exact(&mut two)?;
    assert_eq!((&two, body.text()?.as_str()), (b"he", "llo"));
    assert_eq!(Body::reader(&b"[1]"[..]).json::<Json>()?, json!([1]));
    assert!(Body::from(&[0xff][..]).text().is_err_and(|error| !error.is_retry()));
    Ok(())
}

#[test]
fn an_answered_fetch_may_use_the_host_itself() -> tawi::Result {
    let host = Host::new();
    assert_eq!(kind(http::fetch(http::get("http://example.com/"))), Some(ErrorKind::Denied));
    host.config("greeting", "hi");
    host.on_fetch(|request| http::text(format!("{:?} {}", config::get::<String>("greeting"), request.method())));
    let answer = http::fetch(http::post("http://example.com/", "body"))?;
    assert_eq!(answer.into_body().text()?, "Ok(Some(\"hi\")) POST");
    Ok(())
}

#[test]
fn the_newest_host_answers_and_the_older_one_again_after_it() -> tawi::Result {
    let outer = Host::new();
    outer.config("who", "outer");
    {
        let inner = Host::new();
        inner.config("who", "inner");
        assert_eq!(config::get::<String>("who")?.as_deref(), Some("inner"));
    }
    assert_eq!(config::get::<String>("who")?.as_deref(), Some("outer"));
    Ok(())
}

#[test]
fn the_clock_stands_still_until_it_is_set() {
    let host = Host::new();
    host.clock("2018-05-14T15:49:28Z");
    assert_eq!(tawi::Timestamp::now().to_string(), "2018-05-14T15:49:28Z");
    let event = host.event("mail.in", json!({ "a": 1 })).for_function("mail").on_attempt(3);
    assert_eq!((event.received(), event.function(), event.attempt()), (tawi::Timestamp::now(), "mail", 3));
    assert!(event.reading().is_err());
    assert_eq!(event.with_bytes([1, 2]).payload().bytes(), [1, 2]);
}

#[cfg(feature = "log")]
#[test]
fn lines_of_the_crate_log_come_too() -> tawi::Result {
    let host = Host::new();
    host.run(|_| ::log::warn!("from {}", "elsewhere"), host.event("reading.d.s", 1))?;
    assert_eq!(host.logs()[0].message, "from elsewhere");
    assert_eq!(host.logs()[0].level, log::Level::Warn);
    Ok(())
}
