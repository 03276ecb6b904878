//! Mail, taken by a server of a few lines that speaks SMTP as RFC 5321 has it.

use super::*;
use crate::{
    clock,
    config::{Smtp, SmtpTls},
    model::limit::REFUSAL_BYTES_MAX,
    notify::Sending,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Whom a mail was for, and its text.
type Mails = Arc<Mutex<Vec<(String, String)>>>;

/// Refuses whom it does not know for good, the first mail for now, and the second because its operator has yet to set it up.
async fn server() -> (u16, Mails) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, mails) = (listener.local_addr().unwrap().port(), Mails::default());
    let taken = mails.clone();
    tokio::spawn(async move {
        let (mut mails, long) = (0, format!("550 no such mailbox{}", ", never".repeat(100)));
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"220 here\r\n").await.unwrap();
            let (mut to, mut text) = (String::new(), None::<String>);
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = match (&mut text, line.as_str()) {
                    (Some(body), ".") => {
                        taken.lock().push((std::mem::take(&mut to), std::mem::take(body)));
                        text = None;
                        "250 taken"
                    }
                    (Some(body), line) => {
                        body.push_str(line);
                        body.push('\n');
                        continue;
                    }
                    (None, line) if line.starts_with("MAIL") && mails < 2 => {
                        mails += 1;
                        if mails == 1 { "451 come back later" } else { "530 say who you are first" }
                    }
                    (None, line) if line.starts_with("RCPT") && line.contains("gone@") => long.as_str(),
                    (None, line) if line.starts_with("RCPT") => {
                        to = line.to_owned();
                        "250 fine"
                    }
                    (None, "DATA") => {
                        text = Some(String::new());
                        "354 go on"
                    }
                    (None, "QUIT") => "221 bye",
                    _ => "250 fine",
                };
                write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
            }
        }
    });
    (port, mails)
}

#[tokio::test]
async fn a_mail_reaches_its_user_when_the_server_takes_it_and_says_who_can_not_be_reached() {
    let farm = Farm::new().await;
    let (port, mails) = server().await;
    let from = "Tawi <tawi@farm.example>".to_owned();
    let smtp = Smtp { host: "127.0.0.1".into(), port: Some(port), tls: SmtpTls::Off, username: None, password_file: None, from };
    let node = farm.node_with(Channels::new(Some((&smtp, None)), Vec::new(), &farm.lookup()).unwrap());
    farm.person("carl", Some("gone@example.org"));
    let mail = json!({ "usernames": ["ada", "bob", "carl", "dora"], "channels": ["email"], "message": "The pond is at ${TC1} °C.\n" });
    let action = json!({ "type": "SocialAction", "value": mail });
    let wish = json!({ "description": "Pond\r\nBcc: all@example.org", "condition": condition("TC1 > 40"), "action": action });
    create(&node, &user("ada"), wish).await;
    farm.reads("pond", "TC1", "41", 1).await;
    let ended = || socials(&node).iter().filter(|social| social.status != Sending::Pending).count() == 4;
    run_until(&[&node], "each message is sent or given up", ended).await;
    let mails = mails.lock().clone();
    let (to, text) = &mails[0];
    assert!(mails.len() == 1 && to.contains("<ada@example.org>"), "{mails:?}");
    let sent = socials(&node);
    let of = |name: &str| sent.iter().find(|social| social.username == Some(id(name))).unwrap();
    assert!(text.contains(&format!("Message-ID: <{}@farm.example>", of("ada").id)), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
    assert!(text.contains("The pond is at 41"), "{text}");
    assert_eq!(of("ada").status, Sending::Sent);
    assert!(of("bob").error.as_ref().unwrap().contains("no mail address"));
    assert!(of("dora").error.as_ref().unwrap().contains("no user"));
    assert_eq!((of("carl").status, of("carl").code, of("carl").attempts > 0), (Sending::Failed, Some(550), true));
    let kept = of("carl").error.as_ref().unwrap();
    assert!(kept.contains("never") && kept.len() <= REFUSAL_BYTES_MAX, "{kept}");
    // What was refused for now, or by a server that wants to be set up, is tried again.
    assert_eq!(socials(&node).iter().map(|social| social.attempts).sum::<u32>(), 4 + 2);
}

#[tokio::test]
async fn a_mail_goes_to_an_address_that_an_administrator_set_and_to_no_other() {
    let farm = Farm::new().await;
    let (port, mails) = server().await;
    let from = "Tawi <tawi@farm.example>".to_owned();
    let smtp = Smtp { host: "127.0.0.1".into(), port: Some(port), tls: SmtpTls::Off, username: None, password_file: None, from };
    let node = farm.node_with(Channels::new(Some((&smtp, None)), Vec::new(), &farm.lookup()).unwrap());
    // Who registers herself may name anybody's address.
    farm.person("eve", Some("victim@example.org"));
    farm.world.people.lock().get_mut(&id("eve")).unwrap().is_confirmed = false;
    let letter = |to: &str| {
        let letter = json!({ "username": to, "channel": "email", "message": "buy" });
        serde_json::from_value(letter).unwrap()
    };
    node.send(&user("eve"), letter("eve"), clock::now()).await.unwrap();
    run_until(&[&node], "a message is given up", || socials(&node).iter().all(|social| social.status == Sending::Failed)).await;
    assert!(socials(&node)[0].error.as_ref().unwrap().contains("no administrator has set the mail address of `eve`"));
    assert!(mails.lock().is_empty());
}
