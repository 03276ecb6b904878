//! Who may come in, told on a real ledger without a server.

use super::*;
use crate::{
    ledger::{Ledger, LedgerConfig, LedgerOptions},
    model::{Device, Id, Micros, id::default_tenant, limit::*},
    records::{Records, Space},
};
use std::sync::atomic::Ordering;
use tempfile::TempDir;

struct House {
    _dir: TempDir,
    records: Records,
    tokens: Tokens,
    identify: Identify,
}

const NOW: Micros = Micros(1_000_000_000);

fn id(name: &str) -> Id {
    Id::new(name).unwrap()
}

fn basic<'a>(name: &'a str, password: &'a str) -> Shown<'a> {
    Shown::Pair { name, password }
}

impl House {
    async fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() };
        let ledger = Ledger::open(&config).await.unwrap();
        let records = Records::new(ledger, &default_tenant(), Space::Identity);
        let tokens = Tokens::open(dir.path()).unwrap();
        let identify = Identify::new(records.clone(), tokens.clone(), &[1; 32], &default_tenant(), true).unwrap();
        House { _dir: dir, records, tokens, identify }
    }

    /// The same on another node of the log.
    fn neighbour(&self, guests: bool) -> Identify {
        Identify::new(self.records.clone(), self.tokens.clone(), &[1; 32], &default_tenant(), guests).unwrap()
    }

    /// A device is registered, at a time.
    async fn register(&self, name: &str, at: i64) {
        let put = |changes: &mut crate::records::Changes| {
            Ok::<_, AccountError>(changes.put(format!("{}{name}", Device::RECORD), &serde_json::json!({ "date_created": at }))?)
        };
        self.records.beside(Space::Devices).change(NOW, put).await.unwrap();
    }

    async fn user(&self, name: &str, password: &str) -> User {
        self.identify.users.create(NewUser::new(id(name), Some(password.to_owned())), NOW).await.unwrap()
    }

    async fn refused(&self, shown: Shown<'_>) -> String {
        self.identify.who(shown, NOW).await.unwrap_err().to_string()
    }

    fn hashed(&self) -> usize {
        self.identify.users.passwords.hashed.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_user_is_known_by_password_and_by_session_on_every_node_of_the_log() {
    let house = House::new().await;
    house.user("ada", "correct horse").await;
    let session = house.identify.begin("ada", "correct horse", NOW).await.unwrap();
    let ada = Principal::User { tenant: default_tenant(), id: id("ada"), admin: false };
    let neighbour = house.neighbour(true);
    for shown in [Shown::Bearer(&session), basic("ada", &session), basic("ada", "correct horse")] {
        assert_eq!(neighbour.who(shown, NOW).await.unwrap().who, ada);
    }
    house.refused(basic("bob", &session)).await;
    let renewed = house.identify.renew(&session, NOW.plus_millis(SESSION_SECONDS * 999)).unwrap();
    let later = NOW.plus_millis(SESSION_SECONDS * 1_001);
    assert!(house.identify.who(Shown::Bearer(&session), later).await.is_err());
    assert_eq!(house.identify.who(Shown::Bearer(&renewed), later).await.unwrap().who, ada);
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_are_refused_alike_and_cost_the_same() {
    let house = House::new().await;
    house.user("ada", "correct horse").await;
    house.identify.users.create(NewUser::new(id("no-password"), None), NOW).await.unwrap();
    let mut said = Vec::new();
    for (name, password) in [("ada", "wrong horse"), ("nobody", "wrong horse"), ("no-password", ""), ("not a name", "wrong horse")] {
        let before = house.hashed();
        said.push(house.refused(basic(name, password)).await);
        assert_eq!(house.hashed(), before + 1, "{name}");
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test]
async fn a_new_password_or_none_any_more_ends_sessions_and_what_was_remembered() {
    let house = House::new().await;
    house.user("root", "correct horse").await;
    house.user("ada", "correct horse").await;
    let begun = house.identify.begin("ada", "correct horse", NOW).await.unwrap();
    let known = house.identify.who(basic("ada", "correct horse"), NOW).await.unwrap();
    assert!(house.identify.is_still(&known));
    // The clock stands still: a generation is another one all the same.
    house.neighbour(true).users.set_password(&id("ada"), "battery staple".into(), NOW).await.unwrap();
    assert!(!house.identify.is_still(&known));
    house.refused(Shown::Bearer(&begun)).await;
    house.refused(basic("ada", "correct horse")).await;
    assert!(house.identify.renew(&begun, NOW).is_err());

    let again = house.identify.begin("ada", "battery staple", NOW).await.unwrap();
    house.identify.users.delete(&id("ada"), NOW).await.unwrap();
    house.refused(Shown::Bearer(&again)).await;
    house.refused(basic("ada", "battery staple")).await;
    // Somebody else of that name is not who logged in before.
    house.user("ada", "battery staple").await;
    house.refused(Shown::Bearer(&again)).await;
}

#[tokio::test]
async fn basic_authentication_hashes_the_first_time() {
    let house = House::new().await;
    house.user("ada", "correct horse").await;
    house.identify.who(basic("ada", "correct horse"), NOW).await.unwrap();
    let hashed = house.hashed();
    for _ in 0..100 {
        house.identify.who(basic("ada", "correct horse"), NOW).await.unwrap();
    }
    assert_eq!(house.hashed(), hashed);
    house.refused(basic("ada", "wrong horse")).await;
    assert_eq!(house.hashed(), hashed + 1);
}

#[tokio::test]
async fn who_guesses_has_so_many_guesses_and_the_others_of_the_house_are_not_held_up() {
    let house = House::new().await;
    house.user("ada", "correct horse").await;
    house.user("bob", "correct horse").await;
    for guess in 0..LOGIN_FAILURES_MAX {
        assert!(matches!(house.identify.who(basic("ada", &format!("guess {guess}")), NOW).await, Err(Refused::Wrong)));
    }
    let hashed = house.hashed();
    assert!(matches!(house.identify.who(basic("ada", "correct horse"), NOW).await, Err(Refused::TooOften(LOGIN_WINDOW_SECONDS))));
    assert_eq!(house.hashed(), hashed, "it is not even looked at");
    house.identify.who(basic("bob", "correct horse"), NOW).await.unwrap();
    let later = NOW.plus_millis(LOGIN_WINDOW_SECONDS * 1_000);
    house.identify.who(basic("ada", "correct horse"), later).await.unwrap();
}

#[tokio::test]
async fn what_can_be_no_password_locks_nobody_out() {
    let house = House::new().await;
    house.user("ada", "correct horse").await;
    let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
    for _ in 0..=LOGIN_FAILURES_MAX {
        assert!(matches!(house.identify.who(basic("ada", &long), NOW).await, Err(Refused::Wrong)));
        assert!(matches!(house.identify.who(basic("eve", &long), NOW).await, Err(Refused::Wrong)));
    }
    house.identify.who(basic("ada", "correct horse"), NOW).await.unwrap();
}

#[tokio::test]
async fn only_so_many_windows_are_for_names_that_nobody_has() {
    let house = House::new().await;
    let windows: std::collections::HashSet<String> =
        (0..20 * LOGIN_UNKNOWN_WINDOWS_MAX).map(|n| house.identify.window_of_unknown(&id(&format!("user{n}")))).collect();
    assert_eq!(windows.len() as u64, LOGIN_UNKNOWN_WINDOWS_MAX);
    assert!(windows.iter().all(|window| Id::new(window).is_err()), "none is a name that somebody may have");
}

#[tokio::test]
async fn what_opens_the_door_is_told_from_what_is_somebody_elses_business() {
    let house = House::new().await;
    house.user("ada", "correct horse").await;
    house.register("pump", 5).await;
    let (_, secret) = house.identify.secrets.create(&id("pump"), NOW).await.unwrap();
    let token = house.tokens.create(&default_tenant(), "ci", Role::Read, NOW).unwrap().1;
    let session = house.identify.begin("ada", "correct horse", NOW).await.unwrap();
    let hashed = house.hashed();
    let ours = |shown| house.identify.is_for_us(shown, NOW);
    assert!(
        ours(Shown::Bearer(&session)) && ours(Shown::Bearer(&token)) && ours(Shown::Bearer(&secret)) && ours(Shown::Bearer("tawi_gone"))
    );
    assert!(ours(basic("pump", &secret)) && ours(basic("any", &token)) && ours(basic("any", &session)) && ours(basic("any", &secret)));
    assert!(ours(basic("ada", "correct horse")) && ours(basic("ada", "wrong horse")) && ours(basic("pump", "wrong horse")));
    assert!(
        !ours(Shown::Nothing) && !ours(Shown::Bearer("theirs")) && !ours(Shown::Bearer("eyJh.eyJz.c2ln")) && !ours(basic("eve", "horse"))
    );
    assert_eq!(house.hashed(), hashed);
}

#[tokio::test]
async fn what_was_made_for_a_device_ends_with_it_and_is_not_the_next_ones_of_its_name() {
    let house = House::new().await;
    let (secrets, claims, pump) = (&house.identify.secrets, &house.identify.claims, id("pump"));
    house.register("pump", 5).await;
    let (made, secret) = secrets.create(&pump, NOW).await.unwrap();
    let code = claims.create(&pump, Some(&id("ada")), NOW).await.unwrap();
    let known = house.identify.who(basic("pump", &secret), NOW).await.unwrap();
    // Somebody else registers the id, whatever the clock says, and nobody tidied up.
    for again in [9, 2] {
        house.register("pump", again).await;
        house.refused(basic("pump", &secret)).await;
        assert!(!house.identify.is_still(&known));
        assert_eq!(secrets.list(&pump).unwrap(), []);
        assert!(matches!(claims.redeem(&code, &id("bob"), NOW).await, Err(AccountError::UnknownClaim)));
    }
    house.register("pump", 5).await;
    house.identify.who(basic("pump", &secret), NOW).await.unwrap();
    assert_eq!(claims.redeem(&code, &id("bob"), NOW).await.unwrap().registered, Some(Micros(5)));
    secrets.forget(&pump, NOW).await.unwrap();
    claims.forget(&pump, NOW).await.unwrap();
    assert!(!secrets.revoke(&pump, &made.id, NOW).await.unwrap());
    assert!(matches!(claims.redeem(&code, &id("bob"), NOW).await, Err(AccountError::UnknownClaim)));
}

#[tokio::test]
async fn the_first_node_of_a_log_makes_an_administrator_and_no_other_does() {
    let house = House::new().await;
    let nodes = [house.neighbour(true), house.neighbour(true)];
    let made = futures::future::join_all(nodes.iter().map(|node| node.users.first_admin(NOW))).await;
    let made: Vec<_> = made.into_iter().filter_map(Result::unwrap).collect();
    let [(admin, password)] = made.as_slice() else { panic!("{made:?}") };
    let known = house.identify.who(basic(admin.as_str(), password), NOW).await.unwrap();
    assert!(known.who.is_admin());
    assert_eq!(known.identity().unwrap().role, Role::Admin);
    assert_eq!(house.neighbour(true).users.first_admin(NOW).await.unwrap(), None);
}

#[tokio::test]
async fn a_name_is_given_once_and_that_of_a_deleted_user_by_an_administrator_alone() {
    let house = House::new().await;
    let users = &house.identify.users;
    users.create(NewUser { admin: true, ..NewUser::new(id("root"), None) }, NOW).await.unwrap();
    let wanted = |name| NewUser { admin: true, sms_credit: 9, ..NewUser::new(id(name), Some("correct horse".into())) };
    let ada = users.register(wanted("ada"), NOW).await.unwrap();
    assert_eq!((ada.admin, ada.sms_credit), (false, 0), "nobody makes herself what she is not");
    assert!(matches!(users.register(wanted("ada"), NOW).await, Err(AccountError::Exists(_))));
    assert!(matches!(users.register(NewUser::new(id("bob"), None), NOW).await, Err(AccountError::Invalid { field: "password", .. })));
    users.delete(&id("ada"), NOW).await.unwrap();
    assert!(matches!(users.delete(&id("ada"), NOW).await, Err(AccountError::Unknown(_))));
    assert!(matches!(users.register(wanted("ada"), NOW).await, Err(AccountError::Gone(_))));
    users.create(wanted("ada"), NOW).await.unwrap();
    users.delete(&id("ada"), NOW).await.unwrap();
    assert!(matches!(users.delete(&id("root"), NOW).await, Err(AccountError::LastAdmin(_))));
}

#[tokio::test]
async fn a_tenant_has_a_most_of_users_and_guests_register_so_many_in_an_hour() {
    let house = House::new().await;
    let users = &house.identify.users;
    let full = serde_json::json!({ "users": USERS_MAX - 1, "admins": 1, "gone": 1 });
    let fill = |changes: &mut crate::records::Changes| changes.put("count", &full);
    house.records.change(NOW, fill).await.unwrap();
    let more = users.create(NewUser::new(id("ada"), None), NOW).await;
    assert!(matches!(more, Err(AccountError::TooManyUsers)), "{more:?}");
    for n in 0..=GUEST_REGISTRATIONS_PER_HOUR_MAX {
        let wanted = NewUser::new(id(&format!("user{n}")), Some("short".into()));
        match users.register(wanted, NOW).await {
            Err(AccountError::TooManyRegistrations(_)) => assert_eq!(n, GUEST_REGISTRATIONS_PER_HOUR_MAX),
            other => assert!(n < GUEST_REGISTRATIONS_PER_HOUR_MAX, "{other:?}"),
        }
    }
}

#[tokio::test]
async fn users_are_listed_by_name_in_pages() {
    let house = House::new().await;
    let users = &house.identify.users;
    for name in ["carol", "ada", "bob", "adam"] {
        users.create(NewUser::new(id(name), None), NOW).await.unwrap();
    }
    let names = |containing, limit, offset| {
        let (found, total) = users.list(containing, limit, offset).unwrap();
        (found.into_iter().map(|user| user.id.to_string()).collect::<Vec<_>>().join(" "), total)
    };
    assert_eq!(names("", 2, 1), ("adam bob".to_owned(), 4));
    assert_eq!(names("ada", 10, 0), ("ada adam".to_owned(), 2));
    users.set_sms_credit(&id("ada"), 100, NOW).await.unwrap();
    assert_eq!(users.get(&id("ada")).unwrap().unwrap().sms_credit, 100);
    assert!(matches!(users.set_sms_credit(&id("eve"), 1, NOW).await, Err(AccountError::Unknown(_))));
}

#[tokio::test]
async fn guests_come_in_where_they_may() {
    let house = House::new().await;
    let guest = house.identify.who(Shown::Nothing, NOW).await.unwrap();
    assert_eq!(guest.who, Principal::Guest { tenant: default_tenant() });
    assert!(guest.identity().is_none());
    assert!(matches!(house.neighbour(false).who(Shown::Nothing, NOW).await, Err(Refused::NoGuests)));
}

#[tokio::test]
async fn a_token_comes_as_bearer_or_beside_any_name_and_is_no_password() {
    let house = House::new().await;
    let (token, text) = house.tokens.create(&default_tenant(), "ci", Role::Read, NOW).unwrap();
    for shown in [Shown::Bearer(&text), basic("whoever", &text)] {
        let known = house.identify.who(shown, NOW).await.unwrap();
        assert!(matches!(&known.who, Principal::Token(identity) if identity.role == Role::Read));
        assert!(house.identify.is_still(&known));
    }
    let known = house.identify.who(Shown::Bearer(&text), NOW).await.unwrap();
    house.tokens.revoke(&default_tenant(), &token.id).unwrap();
    assert!(!house.identify.is_still(&known));
    assert_eq!(house.refused(Shown::Bearer(&text)).await, house.refused(basic("x", "tawi_wrong")).await);
    assert_eq!(house.hashed(), 0);
}

#[tokio::test]
async fn a_device_has_secrets_of_its_own_that_can_be_taken_away_one_by_one() {
    let house = House::new().await;
    let (secrets, pump) = (&house.identify.secrets, id("pump"));
    let (first, text) = secrets.create(&pump, NOW).await.unwrap();
    let (_, other) = secrets.create(&id("fridge"), NOW).await.unwrap();
    let known = house.identify.who(basic("pump", &text), NOW).await.unwrap();
    assert_eq!(known.who, Principal::Device { tenant: default_tenant(), id: pump.clone() });
    house.refused(basic("fridge", &text)).await;
    house.refused(basic("pump", &other)).await;
    for _ in 1..DEVICE_SECRETS_MAX {
        secrets.create(&pump, NOW).await.unwrap();
    }
    assert!(matches!(secrets.create(&pump, NOW).await, Err(AccountError::TooManySecrets(_))));
    assert!(!format!("{:?}", secrets.list(&pump).unwrap()).contains(&text));

    assert!(secrets.revoke(&pump, &first.id, NOW).await.unwrap());
    assert!(!secrets.revoke(&pump, &first.id, NOW).await.unwrap());
    assert!(!house.identify.is_still(&known));
    house.refused(basic("pump", &text)).await;
    assert_eq!(secrets.list(&pump).unwrap().len(), DEVICE_SECRETS_MAX - 1);
    secrets.forget(&pump, NOW).await.unwrap();
    assert!(secrets.list(&pump).unwrap().is_empty());
    house.identify.who(basic("fridge", &other), NOW).await.unwrap();
}

#[tokio::test]
async fn a_claim_code_makes_a_device_the_users_who_shows_it_first() {
    let house = House::new().await;
    let (claims, pump, ada) = (&house.identify.claims, id("pump"), id("ada"));
    let old = claims.create(&pump, Some(&id("shop")), NOW).await.unwrap();
    let code = claims.create(&pump, Some(&id("shop")), NOW).await.unwrap();
    let unknown = |result| assert!(matches!(result, Err(AccountError::UnknownClaim)), "{result:?}");
    unknown(claims.redeem(&old, &ada, NOW).await);
    let last = NOW.plus_millis(CLAIM_DAYS_MAX * 86_400_000 - 1);
    // As she typed it.
    let hers = Redeemed { device: pump.clone(), owner: Some(id("shop")), registered: None };
    assert_eq!(claims.redeem(&code.to_lowercase().replace('-', " "), &ada, last).await.unwrap(), hers);
    assert_eq!(claims.redeem(&code, &ada, last).await.unwrap(), hers, "a step after it may have failed");
    unknown(claims.redeem(&code, &id("bob"), last).await);
    claims.done(&code, last).await.unwrap();
    unknown(claims.redeem(&code, &ada, last).await);
    let late = claims.create(&id("fridge"), None, NOW).await.unwrap();
    unknown(claims.redeem(&late, &ada, last.plus_millis(1)).await);
}

#[tokio::test]
async fn there_are_only_so_many_claim_codes_that_nobody_has_used() {
    let house = House::new().await;
    let end = NOW.plus_millis(1_000);
    for page in 0..CLAIMS_MAX / 1_000 {
        let fill = |changes: &mut crate::records::Changes| {
            let claim = |n| serde_json::json!({ "device": format!("d{n}"), "ends": end });
            (page * 1_000..(page + 1) * 1_000).try_for_each(|n| changes.put(format!("c:{n}"), &claim(n)))
        };
        house.records.change(NOW, fill).await.unwrap();
    }
    let claims = &house.identify.claims;
    assert!(matches!(claims.create(&id("pump"), None, NOW).await, Err(AccountError::TooManyClaims)));
    claims.create(&id("d7"), None, NOW).await.unwrap();
    claims.create(&id("pump"), None, end).await.unwrap();
}

#[tokio::test]
async fn who_stays_long_is_told_when_to_look_again_whichever_node_it_was() {
    let house = House::new().await;
    let (secret, text) = house.identify.secrets.create(&id("pump"), NOW).await.unwrap();
    let known = house.identify.who(basic("pump", &text), NOW).await.unwrap();
    let mut changes = house.identify.changes();
    let stop = tokio_util::sync::CancellationToken::new();
    let follows = tokio::spawn({
        let (identify, stop) = (house.identify.clone(), stop.clone());
        async move { identify.run(stop).await }
    });
    // The first look.
    changes.changed().await.unwrap();
    house.neighbour(true).secrets.revoke(&id("pump"), &secret.id, NOW).await.unwrap();
    changes.changed().await.unwrap();
    assert!(!house.identify.is_still(&known));
    stop.cancel();
    follows.await.unwrap();
}
