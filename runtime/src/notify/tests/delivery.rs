//! Messages reach whoever is to be told, whatever happens in between.

use super::*;
use crate::{
    clock,
    model::limit::{DELIVERIES_MAX, DELIVERIES_PER_OWNER_MAX, DELIVERY_ATTEMPTS_MAX, SOCIALS_KEPT_PER_OWNER_MAX},
    notify::{Channel, Refusal, Sending},
};

#[tokio::test]
async fn a_webhook_is_posted_and_what_became_of_it_is_seen() {
    let farm = Farm::new().await;
    let (receiver, url, host) = Receiver::start(&[]).await;
    let node = farm.node(&[host]);
    let watched = watch(&node, webhook(&url, "it is ${TC1}")).await;
    farm.reads("pond", "TC1", "41", 1).await;
    run_until(&[&node], "a message is sent", || state(&node, &watched).state.last_success.is_some()).await;
    assert_eq!(receiver.messages(), ["it is 41"]);
    let (sent, state) = (socials(&node), state(&node, &watched).state);
    assert_eq!((sent[0].status, sent[0].attempts, sent[0].code), (Sending::Sent, 1, Some(200)));
    assert_eq!((state.times_sent, state.last_success_code, state.last_failure), (1, Some(200), None));
    assert_eq!(receiver.heard()[0].id, sent[0].id.as_str());
}

#[tokio::test]
async fn a_message_is_tried_again_with_the_same_id_until_it_is_taken() {
    let farm = Farm::new().await;
    let (receiver, url, host) = Receiver::start(&[500, 404]).await;
    let node = farm.node(&[host]);
    let watched = watch(&node, webhook(&url, "it is ${TC1}")).await;
    farm.reads("pond", "TC1", "41", 1).await;
    run_until(&[&node], "a message is sent", || socials(&node).iter().any(|social| social.status == Sending::Sent)).await;
    let heard = receiver.heard();
    assert_eq!(heard.len(), 3);
    assert!(heard.iter().all(|one| *one == heard[0]), "{heard:?}");
    assert_eq!(socials(&node)[0].attempts, 3);
    assert!(state(&node, &watched).state.last_failure_reason.unwrap().contains("404"));
}

#[tokio::test]
async fn a_message_that_nobody_takes_is_given_up_after_the_last_attempt() {
    let farm = Farm::new().await;
    let (receiver, url, host) = Receiver::start(&[500; 100]).await;
    let node = farm.node(&[host]);
    watch(&node, webhook(&url, "it is ${TC1}")).await;
    farm.reads("pond", "TC1", "41", 1).await;
    run_until(&[&node], "a message is given up", || socials(&node).iter().any(|social| social.status == Sending::Failed)).await;
    assert_eq!(receiver.heard().len(), DELIVERY_ATTEMPTS_MAX as usize);
    assert_eq!(socials(&node)[0].attempts, DELIVERY_ATTEMPTS_MAX);
}

#[tokio::test]
async fn a_webhook_leads_into_no_private_net_unless_the_config_says_so() {
    let farm = Farm::new().await;
    let (receiver, url, _) = Receiver::start(&[]).await;
    let node = farm.node(&["nas.lan".to_owned()]);
    let watched = watch(&node, webhook(&url, "it is ${TC1}")).await;
    farm.reads("pond", "TC1", "41", 1).await;
    run_until(&[&node], "a message is given up", || socials(&node).iter().any(|social| social.status == Sending::Failed)).await;
    assert_eq!((receiver.heard().len(), socials(&node)[0].attempts), (0, 1));
    assert!(state(&node, &watched).state.last_failure_reason.unwrap().contains("not of the internet"));
}

#[tokio::test]
async fn a_channel_that_is_not_set_up_says_so() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    let letter = json!({ "username": "ada", "channel": "sms", "message": "hello" });
    node.send(&user("ada"), serde_json::from_value(letter).unwrap(), clock::now()).await.unwrap();
    run_until(&[&node], "a message is given up", || socials(&node).iter().any(|social| social.status == Sending::Failed)).await;
    assert_eq!(socials(&node)[0].error.as_deref(), Some("the channel `sms` is not set up on this node; it has log, webhook"));
}

#[tokio::test]
async fn what_fired_before_a_crash_is_sent_after_it_and_once() {
    let farm = Farm::new().await;
    let (receiver, url, host) = Receiver::start(&[]).await;
    let first = farm.node(std::slice::from_ref(&host));
    let watched = watch(&first, webhook(&url, "it is ${TC1}")).await;
    first.note(first.position()).await.unwrap();
    farm.reads("pond", "TC1", "41", 1).await;
    // It dies between the firing and the sending, and never noted that it had looked.
    looks(&first).await;
    drop(first);
    // Where the log is nobody else's, the claim of an earlier life is not waited for.
    let second = farm.node_at(Channels::new(None, vec![host], &farm.lookup()).unwrap(), true);
    let head = *farm.ledger.head().borrow();
    assert!(second.position() < head);
    run_until(&[&second], "a message is sent", || state(&second, &watched).state.last_success.is_some()).await;
    assert_eq!(receiver.messages(), ["it is 41"]);
    assert_eq!(state(&second, &watched).state.times_sent, 1);
    assert!(second.position() >= head);
}

#[tokio::test]
async fn two_nodes_send_a_message_once_and_one_takes_over_what_the_other_left() {
    let farm = Farm::new().await;
    let (receiver, url, host) = Receiver::start(&[]).await;
    let [one, other] = [farm.node(std::slice::from_ref(&host)), farm.node(std::slice::from_ref(&host))];
    let wish = json!({ "condition": condition("TC1 > 40"), "action": webhook(&url, "${TC1}"), "throttling": 0 });
    create(&one, &user("ada"), wish).await;
    for n in 0..10 {
        farm.reads("pond", "TC1", &format!("{}", 50 + n), 2 * n).await;
    }
    let sent = || socials(&one).iter().filter(|social| social.status == Sending::Sent).count();
    run_until(&[&one, &other], "ten messages are sent", || sent() == 10).await;
    // One node fires, and dies; the other finds its message when the claim is over.
    farm.reads("pond", "TC1", "99", 100).await;
    looks(&one).await;
    clock::set(Some(clock::now().plus_millis(60_000)));
    run_until(&[&other], "the last message is sent", || sent() == 11).await;
    let mut messages = receiver.messages();
    messages.sort();
    let expected: Vec<String> = (50..60).chain([99]).map(|value: i32| value.to_string()).collect();
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn of_old_messages_the_newest_are_kept() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    let count = SOCIALS_KEPT_PER_OWNER_MAX + 20;
    let numbers: Vec<usize> = (0..count).collect();
    for some in numbers.chunks(500) {
        let put = |changes: &mut crate::records::Changes| {
            some.iter().try_for_each(|n| {
                let mut social = Social::new(id(&format!("s{n}")), Some(id("ada")), Micros(i64::try_from(*n).unwrap()));
                social.status = Sending::Sent;
                changes.put(Social::key(&social.id), &social)
            })
        };
        node.0.records.change::<(), crate::records::RecordsError>(Micros(1), put).await.unwrap();
    }
    let node = farm.node(&[]);
    run_until(&[&node], "old messages go", || socials(&node).len() == SOCIALS_KEPT_PER_OWNER_MAX).await;
    let page = node.socials(&user("ada"), 2, 0).unwrap();
    assert_eq!(page[0].id.as_str(), format!("s{}", count - 1));
    assert!(node.social(&user("ada"), &id("s19")).is_err() && node.social(&user("ada"), &id("s20")).is_ok());
    assert!(node.socials(&user("bob"), 10, 0).unwrap().is_empty());
}

/// A channel that takes its time: as long as the test says.
struct Slow {
    under_way: Mutex<(usize, usize)>,
    gate: tokio::sync::Semaphore,
}

#[async_trait::async_trait]
impl Channel for Slow {
    async fn send(&self, _: &Social) -> Result<Option<u16>, Refusal> {
        let is_most = |(now, most): &mut (usize, usize)| {
            *now += 1;
            *most = (*most).max(*now);
        };
        is_most(&mut self.under_way.lock());
        drop(self.gate.acquire().await.unwrap());
        self.under_way.lock().0 -= 1;
        Ok(None)
    }
}

impl Slow {
    fn new() -> Arc<Slow> {
        Arc::new(Slow { under_way: Mutex::default(), gate: tokio::sync::Semaphore::new(0) })
    }
}

async fn send(node: &Notify, who: &str, to: &[&str], channel: &str) {
    let letter = json!({ "usernames": to, "channels": [channel], "message": "hello" });
    node.send(&user(who), serde_json::from_value(letter).unwrap(), clock::now()).await.unwrap();
}

#[tokio::test]
async fn only_so_many_messages_are_sent_at_a_time() {
    let farm = Farm::new().await;
    let slow = Slow::new();
    let node = farm.node_with(Channels::default().with("slow", slow.clone()));
    // Of several owners: one alone has a share.
    let names: Vec<String> = (0..3 * DELIVERIES_MAX).map(|n| format!("u{n}")).collect();
    for name in &names {
        send(&node, name, &["ada"], "slow").await;
    }
    let sent = || socials(&node).iter().filter(|social| social.status == Sending::Sent).count();
    run_until(&[&node], "all are sent", || {
        if slow.under_way.lock().0 == DELIVERIES_MAX {
            slow.gate.add_permits(names.len());
        }
        sent() == names.len()
    })
    .await;
    assert_eq!(slow.under_way.lock().1, DELIVERIES_MAX);
}

#[tokio::test]
async fn addresses_that_do_not_answer_hold_up_nobody_elses_messages() {
    let farm = Farm::new().await;
    let slow = Slow::new();
    let channels = Channels::new(None, Vec::new(), &farm.lookup()).unwrap();
    let node = farm.node_with(channels.with("slow", slow.clone()));
    let names: Vec<String> = (0..2 * DELIVERIES_MAX).map(|n| format!("u{n}")).collect();
    send(&node, "ada", &names.iter().map(String::as_str).collect::<Vec<_>>(), "slow").await;
    send(&node, "bob", &["bob"], "log").await;
    let sent = |channel: &str| socials(&node).iter().filter(|social| social.status == Sending::Sent && social.channel == channel).count();
    run_until(&[&node], "the other message is sent", || {
        let is_sent = sent("log") == 1;
        if is_sent {
            slow.gate.add_permits(names.len());
        }
        is_sent
    })
    .await;
    assert!(slow.under_way.lock().1 <= DELIVERIES_PER_OWNER_MAX && sent("slow") < names.len());
}

#[tokio::test]
async fn what_is_being_sent_at_the_shutdown_is_noted_before_the_end() {
    let farm = Farm::new().await;
    let slow = Slow::new();
    let node = farm.node_with(Channels::default().with("slow", slow.clone()));
    send(&node, "ada", &["bob"], "slow").await;
    let end = CancellationToken::new();
    let stopping = async {
        while slow.under_way.lock().0 == 0 {
            tokio::task::yield_now().await;
        }
        end.cancel();
        // The rest of the shutdown goes on meanwhile.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        slow.gate.add_permits(1);
    };
    tokio::join!(node.run(end.clone()), stopping);
    assert_eq!(socials(&node)[0].status, Sending::Sent);
}

#[tokio::test]
async fn of_two_nodes_that_find_a_claim_over_one_takes_it() {
    let farm = Farm::new().await;
    let [dead, one, other] = [farm.node(&[]), farm.node(&[]), farm.node(&[])];
    for _ in 0..10 {
        send(&dead, "ada", &["bob"], "log").await;
    }
    let ids: Vec<Id> = socials(&dead).into_iter().map(|social| social.id).collect();
    clock::set(Some(clock::now().plus_millis(31_000)));
    for id in ids {
        let (first, second) = tokio::join!(one.0.claim(&id), other.0.claim(&id));
        let takers = [first.unwrap(), second.unwrap()].into_iter().flatten().count();
        assert_eq!(takers, 1, "{id}");
    }
}

/// Answers with a long page, whatever its status.
async fn talker(status: u16) -> (String, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let page = move || async move { (http::StatusCode::from_u16(status).unwrap(), "x".repeat(1 << 20)) };
    let router = Router::new().route("/hook", post(page));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{host}/hook"), host)
}

#[tokio::test]
async fn a_long_answer_is_no_success_by_itself() {
    for (status, sent, codes) in [(200, Sending::Sent, (Some(200), None)), (502, Sending::Failed, (None, Some(502)))] {
        let farm = Farm::new().await;
        let (url, host) = talker(status).await;
        let node = farm.node(&[host]);
        let watched = watch(&node, webhook(&url, "hello")).await;
        farm.reads("pond", "TC1", "41", 1).await;
        run_until(&[&node], "a message is sent or given up", || socials(&node).iter().any(|social| social.status != Sending::Pending))
            .await;
        let social = socials(&node).remove(0);
        assert_eq!((social.status, social.code), (sent, codes.0.or(codes.1)));
        assert_eq!(state(&node, &watched).state.last_success_code, codes.0);
    }
}
